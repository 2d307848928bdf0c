"""What may happen only once, recorded where it outlives the process."""
