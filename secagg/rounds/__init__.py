"""The rounds of a training: who is invited, what they are about, what follows a failure."""
