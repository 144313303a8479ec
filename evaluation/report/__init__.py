"""What evaluations write: reports, pictures, films and layers of the map."""
