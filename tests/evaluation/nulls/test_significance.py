"""The Monte-Carlo engine: what it counts, that nothing but the seed decides the worlds, and that it may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evaluation.backtests.backtest import backtest
from evaluation.backtests.plan import Plan
from evaluation.nulls import NULLS
from evaluation.nulls.families import adjust, draw_nulls, null_lines, null_meanings, null_table, plot_null
from evaluation.nulls.interaction import Knox, knox, modified_knox
from evaluation.nulls.significance import significance
from evaluation.nulls.statistics import STATISTICS, BranchingRatio, Gains, LogLikelihoodGain, make_statistic
from evaluation.nulls.worlds import Context, NullResult
from stpp.domain import Box
from stpp.events import Events, Window
from stpp.models import Hawkes, make_models
from stpp.simulation.branching import simulate_hawkes

UNIT = Box((0.0, 0.0), (1.0, 1.0))
CONTEXT = Context(UNIT, Window(0.0, 10.0), 1.0, 5.0)


def no_signal(seed: int, n: int = 80) -> Events:
    """Places independent of time."""
    rng = np.random.default_rng(seed)
    author = rng.integers(0, 10, n)
    return Events(np.sort(rng.uniform(0, 10, n)), rng.uniform(size=(n, 2)), author=author, authors=tuple("abcdefghij"))


@dataclass(frozen=True)
class Link:
    """|correlation| of time and place; counts its calls."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, events: Events) -> dict[str, float]:
        self.calls.append(len(events))
        across, along = (abs(float(np.corrcoef(events.t, events.x[:, axis])[0, 1])) for axis in (0, 1))
        return {"link across": across, "link along": along}


# -- the engine -------------------------------------------------------------------------------------------------


def test_every_value_against_every_null() -> None:
    events = no_signal(0)
    results = significance(Link(), events, ["rotate", "time-shuffle"], CONTEXT, B=19, jobs=1)
    assert [(r.null, r.statistic) for r in results] == [
        ("rotate", "link across"), ("rotate", "link along"), ("time-shuffle", "link across"),
        ("time-shuffle", "link along"),
    ]  # fmt: skip
    for result in results:
        assert result.observed == Link()(events)[result.statistic]
        assert len(result.values) == 19
        assert len(set(result.values)) == 19
        assert result.p_value == (1 + sum(v >= result.observed for v in result.values)) / 20


def test_worlds_depend_on_seed_null_and_number_alone() -> None:
    events = no_signal(1)
    both = significance(Link(), events, ["time-shuffle", "within-author"], CONTEXT, B=25, seed=3, jobs=1)
    threads = significance(
        Link(), events, ["time-shuffle", "within-author"], CONTEXT, B=25, seed=3, jobs=3, backend="threading"
    )
    assert threads == both
    alone = significance(Link(), events, ["within-author"], CONTEXT, B=19, seed=3, jobs=1)
    assert [r.values for r in alone] == [r.values[:19] for r in both[2:]]
    other = significance(Link(), events, ["within-author"], CONTEXT, B=19, seed=4, jobs=1)
    assert other[0].values != alone[0].values


@pytest.mark.slow
def test_processes_give_the_same_and_report_progress() -> None:
    events, nulls, told = no_signal(1), ["time-shuffle", "rotate"], []
    near = Knox(0.1, 1.0)  # other processes cannot import what a test file defines
    alone = significance(near, events, nulls, CONTEXT, B=19, jobs=1)
    shared = significance(near, events, nulls, CONTEXT, B=19, jobs=2, progress=lambda _, k, n: told.append((k, n)))
    assert shared == alone
    assert told == [(k, 38) for k in range(1, 39)]


def test_dask_gives_the_same() -> None:
    distributed = pytest.importorskip("distributed", reason="dask's scheduler is an optional dependency")
    events = no_signal(1)
    alone = significance(Link(), events, ["time-shuffle", "rotate"], CONTEXT, B=19, jobs=1)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as cluster:
        address = cluster.scheduler_address
        nulls = ["time-shuffle", "rotate"]
        assert significance(Link(), events, nulls, CONTEXT, B=19, backend="dask", scheduler=address) == alone


@pytest.mark.slow
def test_no_signal_gives_uniform_p_values() -> None:
    # p takes the values 1/20 … 1; less a uniform share of a step it is uniform on [0, 1] if the test is exact
    rng = np.random.default_rng(5)
    nulls = ["time-shuffle", "within-author", "rotate", "within-window"]
    p = np.array(
        [
            [r.p_value for r in significance(Link(), no_signal(seed), nulls, CONTEXT, B=19, seed=seed, jobs=1)[::2]]
            for seed in range(200)
        ]
    )
    smooth = p - rng.uniform(0, 1 / 20, p.shape)
    for k, null in enumerate(nulls):
        assert stats.kstest(smooth[:, k], "uniform").pvalue > 0.01, null
    assert 0.01 < (p <= 0.05).mean() < 0.09


@pytest.mark.slow
def test_background_is_calibrated_too() -> None:
    # one fitted background serves many data sets here: worlds of its own are data sets that it explains
    rng = np.random.default_rng(5)
    world = NULLS["background"].world(no_signal(0, 100), CONTEXT)
    values = np.array([Link()(world(rng))["link across"] for _ in range(200 * 20)]).reshape(200, 20)
    p = (values[:, :1] <= values).mean(axis=1) - rng.uniform(0, 1 / 20, 200)
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_planted_excitation_is_found_and_named() -> None:
    events, _ = simulate_hawkes(500, seed=2, branching=0.3, duration=100.0, decay=4.0)
    context = Context(UNIT, Window(0.0, 100.0), 1.0, 50.0)
    found = significance(Knox(0.05, 1.0), events, ["time-shuffle", "background"], context, B=99, jobs=1)
    assert [r.p_value for r in found] == [0.01, 0.01]
    assert all(r.effect_size > 5 for r in found)
    first, second, _ = null_meanings(found)
    assert first.startswith("time-shuffle: rejected at 5 %: place and time are linked")
    assert second.startswith("background: rejected at 5 %: events excite each other")
    assert null_table(found)[1][0][:2] == ["time-shuffle", "Knox at 0.05 map units, 1 day"]


# -- interruption -----------------------------------------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from evaluation.nulls.interaction import Knox
from evaluation.nulls.worlds import Context
from evaluation.nulls.significance import significance
from stpp.domain import Box
from stpp.events import Events, Window

def slowly(events):
    time.sleep(0.02)
    return Knox(0.1, 1.0)(events)

columns = np.load(sys.argv[1])
events = Events(columns["t"], columns["x"], author=columns["author"], authors=tuple("abcdefghij"))
context = Context(Box((0.0, 0.0), (1.0, 1.0)), Window(0.0, 10.0), 1.0, 5.0)
significance(slowly, events, ["time-shuffle", "rotate"], context, B=99, jobs=1, journal=Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_and_resumed_is_identical(tmp_path: Path) -> None:
    events, journal, nulls = no_signal(2), tmp_path / "null.jsonl", ["time-shuffle", "rotate"]
    np.savez(tmp_path / "events.npz", t=events.t, x=events.x, author=events.author)
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "events.npz", journal],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it never started"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with journal.open("ab") as file:
        file.write(b'{"null": "time-shuffle", "b"')  # a line torn by the kill
    done = journal.read_bytes().count(b"\n")
    assert 20 < done < 199
    calls = []

    def counted(events: Events) -> dict[str, float]:
        calls.append(len(events))
        return Knox(0.1, 1.0)(events)

    resumed = significance(counted, events, nulls, CONTEXT, B=99, jobs=1, journal=journal)
    assert len(calls) == 199 - done
    whole = significance(Knox(0.1, 1.0), events, nulls, CONTEXT, B=99, jobs=1)
    text = [json.dumps(replace(r, seconds=0.0).to_json_dict()) for r in resumed]
    assert text == [json.dumps(replace(r, seconds=0.0).to_json_dict()) for r in whole]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({(line["null"], line["b"]) for line in lines}) == len(lines) == 199
    assert not any("seconds" in line for line in lines)


def test_more_worlds_continue_a_journal(tmp_path: Path) -> None:
    journal = tmp_path / "null.jsonl"
    few = significance(Link(), no_signal(3), ["rotate"], CONTEXT, B=19, jobs=1, journal=journal)
    counted = Link()
    more = significance(counted, no_signal(3), ["rotate"], CONTEXT, B=29, jobs=1, journal=journal)
    assert len(counted.calls) == 10
    assert more[0].values[:19] == few[0].values


# -- refusals ---------------------------------------------------------------------------------------------------


def test_refusals_say_what_is_wrong() -> None:
    events = no_signal(0)
    with pytest.raises(ValueError, match=r"9 null worlds allow no p of 0\.05 or below: take -B 19 or more"):
        significance(Link(), events, ["rotate"], CONTEXT, B=9)
    with pytest.raises(ValueError, match="no backend 'ray'; there are: loky, threading, dask"):
        significance(Link(), events, ["rotate"], CONTEXT, backend="ray")
    with pytest.raises(ValueError, match="go together"):
        significance(Link(), events, ["rotate"], CONTEXT, backend="dask")
    with pytest.raises(ValueError, match="no null 'shuffled'"):
        significance(Link(), events, ["shuffled"], CONTEXT)


@dataclass(frozen=True)
class Fails:
    """Fine on the data, where the first post lies in the left half; elsewhere an error, or NaN."""

    nan: bool

    def __call__(self, events: Events) -> dict[str, float]:
        if events.x[0, 0] > 0.5:
            if self.nan:
                return {"value": float("nan")}
            raise ValueError("no events in a window")
        return {"value": 1.0}


@pytest.mark.parametrize(("nan", "words"), [(False, "no events in a window"), (True, "value is nan")])
def test_a_failing_world_is_named(nan: bool, words: str) -> None:
    events = next(e for e in map(no_signal, range(9)) if e.x[0, 0] < 0.5)
    with pytest.raises(ValueError, match=rf"world \d+ of 'time-shuffle': {words}"):
        significance(Fails(nan), events, ["time-shuffle"], CONTEXT, B=19, jobs=1)


# -- statistics -------------------------------------------------------------------------------------------------

PLAN = Plan(train_start=0, test=Window(5, 10), step=1, grid=8)


def test_gains_are_those_of_the_backtest() -> None:
    events = no_signal(0, 200)
    models = make_models(["uniform", "historical-average"], UNIT, 1.0)
    result = backtest(events, models, PLAN, rng=np.random.default_rng(1))
    fds = result.summary()["fds"]
    assert Gains(tuple(models.items()), PLAN)(events) == {
        "information gain of uniform": pytest.approx(result.gains["uniform"].mean),
        "FDS gain of uniform": pytest.approx(fds["uniform"] - fds["historical-average"]),
    }
    assert list(make_statistic("information-gain", models, PLAN)(events)) == ["information gain of uniform"]
    assert list(make_statistic("fds-gain", models, PLAN)(events)) == ["FDS gain of uniform"]


def test_log_likelihood_gain_and_branching_ratio() -> None:
    events = no_signal(0, 200)
    models = make_models(["uniform", "historical-average", "hawkes"], UNIT, 1.0)
    gain = make_statistic("log-likelihood-gain", models, PLAN)
    assert isinstance(gain, LogLikelihoodGain)
    fits = {name: model.fit(events, Window(0, 10)).result for name, model in models.items()}
    base = fits["historical-average"].log_likelihood
    assert gain(events) == {
        f"log-likelihood gain of {name}": pytest.approx((fits[name].log_likelihood - base) / 200)
        for name in ("uniform", "hawkes")
    }
    ratio = make_statistic("branching-ratio", {k: models[k] for k in ("historical-average", "hawkes")}, PLAN)(events)
    assert ratio["branching ratio of hawkes"] == fits["hawkes"].branching_ratio
    assert 0 <= ratio["local branching ratio of hawkes"] <= ratio["branching ratio of hawkes"]


@pytest.mark.slow
def test_local_branching_tells_excitation_from_bursts_anywhere() -> None:
    events, _ = simulate_hawkes(600, seed=2, branching=0.5, duration=100.0, decay=4.0)
    context = Context(UNIT, Window(0.0, 100.0), 1.0, 50.0)
    ratio = BranchingRatio((("hawkes", Hawkes(domain=UNIT)),), context.span)
    observed, shuffled = ratio(events), ratio(NULLS["time-shuffle"](events, np.random.default_rng(0), context))
    assert observed["local branching ratio of hawkes"] == pytest.approx(0.5, abs=0.1)
    assert shuffled["local branching ratio of hawkes"] < 0.3
    assert shuffled["branching ratio of hawkes"] > 0.3  # the times still come in bursts


def test_knox_by_name() -> None:
    events, models = no_signal(0), make_models(["uniform", "historical-average"], UNIT)
    for name, function in (("knox", knox), ("modified-knox", modified_knox)):
        (value,) = make_statistic(name, models, PLAN, distance=0.1, delay=1.0)(events).values()
        assert value == function(events, 0.1, 1.0)


def test_statistics_refuse_what_they_cannot_use() -> None:
    models = make_models(["uniform", "historical-average"], UNIT)
    with pytest.raises(ValueError, match="no statistic 'mantel'; there are: information-gain"):
        make_statistic("mantel", models, PLAN)
    with pytest.raises(ValueError, match="say what is near with --distance and --delay"):
        make_statistic("knox", models, PLAN, distance=0.1)
    with pytest.raises(ValueError, match="do not apply to fds-gain"):
        make_statistic("fds-gain", models, PLAN, delay=1.0)
    with pytest.raises(ValueError, match="uniform has no branching ratio: test hawkes"):
        make_statistic("branching-ratio", models, PLAN)
    del models["uniform"]
    with pytest.raises(ValueError, match="name another model to test"):
        make_statistic("information-gain", models, PLAN)
    assert set(STATISTICS) >= {"information-gain", "fds-gain", "branching-ratio", "knox"}


# -- families ---------------------------------------------------------------------------------------------------


def results() -> list[NullResult]:
    """p = 1/20, 2/20, 20/20 and 1/20 of four tests."""
    low, high = tuple(np.linspace(0, 0.1, 19)), tuple(np.linspace(0.5, 0.9, 19))
    return [
        NullResult("information gain of hawkes", "time-shuffle", 0.4, low),
        NullResult("information gain of hawkes", "within-author", 0.4, (0.41, *low[1:])),
        NullResult("information gain of hawkes", "rotate", 0.4, high),
        NullResult("FDS gain of hawkes", "time-shuffle", 0.8, low),
    ]


def test_adjustment_by_hand() -> None:
    # sorted p: .05 .05 .1 1. Holm: 4·.05 = .2, 3·.05 → .2, 2·.1 → .2, 1. BH: 4/2·.05 = .1 twice, 4/3·.1, 1
    table = adjust(results())
    np.testing.assert_allclose(table["p_value"], [0.05, 0.1, 1, 0.05])
    np.testing.assert_allclose(table["holm"], [0.2, 0.2, 1, 0.2])
    np.testing.assert_allclose(table["benjamini_hochberg"], [0.1, 0.4 / 3, 1, 0.1])
    assert table["share_kept"].iloc[0] == pytest.approx(0.05 / 0.4)


@pytest.mark.slow
def test_the_table_says_what_each_null_keeps() -> None:
    one = results()[:1]
    header, (row,) = null_table(one)
    assert dict(zip(header, row, strict=True)) == {
        "null": "time-shuffle",
        "statistic": "information gain of hawkes",
        "observed": "0.400",
        "null worlds": "0.050 ± 0.031",
        "kept": "12 %",
        "p": "0.05",
        "q": "0.05",
    }
    claim, about = null_meanings(one)
    assert claim == f"time-shuffle: rejected at 5 %: {NULLS['time-shuffle'].claim}."
    assert about == "p: share of 19 null worlds and the data that reach it, 0.05 at best"
    lines = null_lines(results())
    assert "175 %" in lines[3]
    assert any("not rejected: what it keeps can explain" in line for line in lines)
    nothing = replace(results()[0], observed=-0.1)
    assert null_table([nothing])[1][0][4] == ""
    assert null_table([])[1] == null_meanings([]) == []


def test_too_few_worlds_are_no_acquittal() -> None:
    """With 19 worlds p is 0.05 at best; over two tests of which one fails nothing can be rejected."""
    reached, missed = results()[0], replace(results()[0], null="background", observed=-9.0)
    assert reached.p_value == 0.05
    told = null_meanings([reached, missed])
    assert told[0] == (
        "time-shuffle: no null world reached the value, but 19 are too few to reject at 5 % among so many tests: "
        "take a larger -B."
    )
    assert told[1].startswith("background: not rejected")


def test_pictures() -> None:
    ax = plot_null(results()[0])
    assert ax.get_title(loc="left") == "time-shuffle keeps 12 %\np = 0.05 (19 worlds)"
    assert ax.get_xlabel() == "information gain of hawkes\n(nats per event)"
    assert sum(patch.get_height() for patch in ax.patches) == 19
    figure = draw_nulls(results())
    shown = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert len(shown) == 4
    assert len({ax.get_xlim() for ax in shown[:3]}) == 1
    assert shown[3].get_xlim() != shown[0].get_xlim()
    same = NullResult("value", "rotate", 0.0, (0.0,) * 19)
    assert sum(patch.get_height() for patch in plot_null(same).patches) == 19
    with pytest.raises(ValueError, match="no null results"):
        draw_nulls([])
