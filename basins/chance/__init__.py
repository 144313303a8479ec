"""What noise alone would give: persistence, prominence and conductance of maps without structure."""
