"""Finding, measuring and following basins of discourse. Imports ``stpp`` only."""
