"""Events of known truth: branching processes, planted worlds, thinning."""
