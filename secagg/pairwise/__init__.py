"""The pairwise-masking protocol: SecAgg of Bonawitz et al. (CCS 2017), as two state machines."""
