"""Fits: concave mixtures, the Hawkes fit, rehearsals, searches, temporal Hawkes processes."""
