"""The pairwise-masking protocol, SecAgg (Bonawitz et al., CCS 2017), as two state machines."""
