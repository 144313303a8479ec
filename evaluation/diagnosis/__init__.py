"""Whether a model fits what came: residuals, calibration, consistency, replies."""
