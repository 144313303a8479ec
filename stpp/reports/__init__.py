"""How things are told: plots, films, pages, numbers in words."""
