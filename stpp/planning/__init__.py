"""What would follow if posts were added."""
