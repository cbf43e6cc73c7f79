"""What runs have found, for people to read."""
