"""Files of posts to events, every row accounted for."""
