"""Everything from Python: posts from a frame, three models, basins, a map. `python docs/notebook.py POSTS.parquet`."""

import sys

import pandas as pd

import basins
import evaluation
import stpp

posts = pd.read_parquet(sys.argv[1])  # any frame with times, coordinates and what else there is
events = stpp.read_events(posts)
stpp.write_events(events, "events.parquet")

models = ["historical-average", "decaying-kde", "hawkes"]
judged = evaluation.evaluate("events.parquet", models, test_start=40, output="judged")
print(judged.leaderboard()[["information_gain", "low", "high", "verdict"]])

found = basins.find("events.parquet", window="10d", B=0, output="basins")
for track in found.tracking.tracks:
    print(found.names[track.id].text, "lived for", len(track.basins), "windows")

stpp.draw_map(["judged", "basins"], "map.html")
