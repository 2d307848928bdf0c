"""What carries messages and runs jobs. Drivers know machines by their interfaces alone."""
