"""Sums of kernels over events: triggering kernels, fields, pairs, background, renewal."""
