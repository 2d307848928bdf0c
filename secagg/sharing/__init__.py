"""Secret sharing: seeds cut into shares, and rebuilt from shares of which some are wrong."""
