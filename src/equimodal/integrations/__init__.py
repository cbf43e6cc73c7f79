"""Balanced training in other people's loops. Import the one that you use; each needs its own extra."""
