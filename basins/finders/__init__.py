"""The finders of basins, one a file."""
