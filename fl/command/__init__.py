"""The command line `python -m secagg.fl`: its options, what it prints, writes and draws."""
