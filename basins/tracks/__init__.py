"""Basins followed from window to window: tracks, fates, names, forecasts of going on, significance."""
