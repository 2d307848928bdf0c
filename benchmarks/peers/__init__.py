"""Other systems that compute the same sums, measured on the same inputs."""
