"""What a party keeps from one message to the next, and from one round to the next."""
