"""What basin runs write: reports, pictures, tables, films and layers of the map."""
