"""Rolling-origin backtests: planned, run, scored, kept, and read back."""
