"""The discourse weather map: posts, forecasts, flow and basins through time, as one page that opens from disk."""
