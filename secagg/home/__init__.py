"""Keeps what a party needs from one message to the next, and from one round to the next."""
