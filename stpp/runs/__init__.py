"""Run directories: manifests, fits, flows, forecasts, and running them again."""
