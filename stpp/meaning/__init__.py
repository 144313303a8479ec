"""Text to coordinates."""
