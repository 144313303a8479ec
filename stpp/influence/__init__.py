"""Who brings about whom: influence between regions, the probable parent of each event."""
