"""Other systems for the same job, on the same numbers."""
