"""Drivers carry messages and run jobs. They use machines by `secagg.interfaces` only."""
