"""Numbers to field elements and back, and arrays to one vector and back."""
