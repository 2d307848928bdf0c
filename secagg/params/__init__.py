"""The agreement on a round: parameters, number formats, a client's own policy."""
