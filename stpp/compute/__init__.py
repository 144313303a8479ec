"""The machine: BLAS threads, memory, progress."""
