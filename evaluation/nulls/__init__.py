"""Null worlds, the statistics held against them, and what they say together."""
