"""Readers of file formats, and what turns their contents into features."""
