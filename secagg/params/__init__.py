"""What a round is agreed on: parameters, number formats, a client's own policy."""
