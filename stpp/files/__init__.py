"""Files: written under a temporary name and renamed; values that JSON takes."""
