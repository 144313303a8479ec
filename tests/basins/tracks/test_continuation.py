"""Forecasts of basins: features and labels by hand, no leak from the future, skill on storms, none on shuffled ones."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from basins.basin import Basin, describe
from basins.finders.density import DensityFinder
from basins.space import Snapshot, Space
from basins.tracks.continuation import FEATURES, coefficients, examples, predict
from basins.tracks.forward_chaining import DOUBT, ENOUGH, Chain, Choice
from basins.tracks.tracking import follow
from evaluation.continuation import continuation_scores
from stpp.domain import Array, Box, Grid
from stpp.events import Events, Window
from stpp.partition import Partition
from stpp.simulation.worlds import simulate_world

BOX = Box((-6.0, -6.0), (6.0, 6.0))
SPACE = Space(Partition.of_grid(Grid.over(BOX, 24)), 0.5)
WEEKS = tuple(Window(7.0 * k, 7.0 * k + 7) for k in range(26))
FIRST = 12


def discs(snapshot: Snapshot, centres: Array, radius: float = 1.2) -> tuple[Basin, ...]:
    """Basins whose regions are discs around planted centres."""
    if not len(centres) or not len(snapshot.posts):
        return ()
    apart = np.linalg.norm(SPACE.partition.centres - centres[:, None], axis=2)
    own = (apart == apart.min(axis=0)) & (apart <= radius)
    return describe(snapshot, own.astype(float), np.ones(len(centres)))


@cache
def storms() -> tuple[Events, dict[str, object]]:
    return simulate_world("storms", 20_000, 3)


def seen_and_found(
    events: Events, windows: tuple[Window, ...] = WEEKS
) -> tuple[list[Snapshot], list[tuple[Basin, ...]]]:
    """Storms are found where they stand while they blow with a quarter of their strength or more."""
    seen, found = [SPACE.see(events, window) for window in windows], []
    basins = storms()[1]["basins"]
    for snapshot in seen:
        day = int(snapshot.window.start + 3)
        found.append(
            discs(snapshot, np.array([b["centre"][day] for b in basins if b["rate"][day] > 0.25 * b["rate"].max()]))  # type: ignore[attr-defined]
        )
    return seen, found


def table_of(seen: list[Snapshot], found: list[tuple[Basin, ...]], training: int = FIRST + 1) -> pd.DataFrame:
    return examples(seen, found, follow(seen, found), training)


def story(shares: list[list[int]]) -> tuple[list[Snapshot], list[tuple[Basin, ...]]]:
    """Windows with given numbers of posts at three places; basins wherever there are posts."""
    places = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    seen, found = [], []
    for window, counts in zip(WEEKS, shares, strict=False):
        x = np.repeat(places, counts, axis=0)
        t = np.linspace(window.start, window.end, len(x), endpoint=False)
        order = np.argsort(np.concatenate([np.arange(n) / max(n, 1) for n in counts]), kind="stable")
        seen.append(SPACE.see(Events(t, x[order]), window))
        found.append(discs(seen[-1], places[np.array(counts) > 0]))
    return seen, found


# -- features and labels --------------------------------------------------------------------------------------------


def test_labels_come_from_the_mass_that_falls_in_the_region() -> None:
    seen, found = story([[60, 40, 0], [80, 20, 0], [15, 60, 25]])
    table = table_of(seen, found).set_index(["window", "basin"])
    np.testing.assert_allclose(table.loc[0, "next_share"], [0.8, 0.2])
    assert table.loc[0, "continues"].tolist() == [1.0, 1.0]  # 0.2 is exactly half of 0.4
    assert table.loc[0, "grows"].tolist() == [1.0, 0.0]
    assert table.loc[1, "continues"].tolist() == [0.0, 1.0]
    assert table.loc[2, ["next_share", "continues", "grows", "lasts", "sustained"]].isna().all(axis=None)
    assert table.loc[2, "age"].tolist() == [3.0, 1.0, 3.0]  # largest first: right, top, left


def test_changes_are_those_of_the_region_not_of_the_track() -> None:
    seen, found = story([[60, 40, 0], [80, 20, 0], [15, 60, 25]])
    table = table_of(seen, found).set_index(["window", "basin"])
    grain = 0.01
    change = np.log((np.array([0.6, 0.25, 0.15]) + grain) / (np.array([0.2, 0.0, 0.8]) + grain))
    np.testing.assert_allclose(table.loc[2, "change"], change)
    np.testing.assert_allclose(table.loc[2, "change_before"].iloc[0], np.log(0.21 / 0.41))
    assert (table.loc[0, "change"] == 0).all()
    assert (table.loc[0, "grain"] == grain).all()
    assert table[list(FEATURES)].notna().all(axis=None)


def test_the_trend_is_that_inside_the_window() -> None:
    x = np.array([[-3.0, 0.0], [3.0, 0.0]])
    t = np.arange(80) * 7 / 80
    left = np.arange(80) % 4 < np.repeat([1, 1, 2, 3], 20)  # a quarter of the posts, in the end three quarters
    seen = [SPACE.see(Events(t, x[np.where(left, 0, 1)]), WEEKS[0])]
    found = [discs(seen[0], x)]
    table = table_of(seen, found)
    rising = table.loc[np.argmin([b.centre[0] for b in found[0]])]
    grain = 1 / 80
    assert rising["trend"] == pytest.approx(np.log((0.625 + grain) / (0.25 + grain)))
    assert rising["late"] == pytest.approx(np.log((0.75 + grain) / (1 / 3 + grain)))
    assert table["trend"].sum() < rising["trend"]


def test_a_fledgling_is_sustained_when_it_stays_large() -> None:
    """Training shares are 0.5 and 0.5 twice, so 0.5 is large; two windows of the next three have to be."""
    seen, found = story([[5, 5, 0], [5, 5, 0], [6, 4, 0], [6, 4, 0], [2, 8, 0], [6, 4, 0], [6, 4, 0]])
    table = table_of(seen, found, training=2)
    at = [min(basins, key=lambda b: b.centre[0]).id for basins in found]
    left = [table[(table["window"] == k) & (table["basin"] == at[k])].iloc[0] for k in range(7)]
    assert [row["sustained"] for row in left[:2]] == [1.0, 1.0]
    assert [row["lasts"] for row in left[2:4]] == [1.0, 1.0]
    assert all(np.isnan(row["sustained"]) for row in left[2:])  # too old, or the future is not there
    assert all(np.isnan(row["lasts"]) for row in left[4:])
    right = table[(table["window"] == 0) & (table["basin"] != at[0])].iloc[0]
    assert right["sustained"] == 0.0  # 0.5, then 0.4 twice


@pytest.mark.slow
def test_an_empty_next_window_is_unknown() -> None:
    seen, found = story([[60, 40, 0], [0, 0, 0], [50, 50, 0]])
    table = table_of(seen, found)
    assert table.loc[table["window"] == 0, ["continues", "next_share", "grows", "lasts"]].isna().all(axis=None)
    assert table["window"].tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(table["change"].iloc[2:], np.log([0.51 / 0.61, 0.51 / 0.41]), atol=0.01)


def test_posts_that_linger_by_a_half_life_are_not_counted_again() -> None:
    """All posts on the left come in the first week, and still count for half a week later; their basin has ended."""
    x = np.repeat([[-3.0, 0.0], [3.0, 0.0], [3.0, 0.0]], 40, axis=0)
    events = Events(np.linspace(0, 21, 120, endpoint=False), x)
    seen = [SPACE.see(events, window, half_life=7.0) for window in WEEKS[:3]]
    places = np.array([[-3.0, 0.0], [3.0, 0.0]])
    found = [discs(seen[0], places[:1]), *(discs(snapshot, places) for snapshot in seen[1:])]
    assert seen[1].totals[seen[1].own_totals == 0].sum() > 10  # they are still there
    table = table_of(seen, found, training=1)
    left = table[table["basin"] == 0].iloc[0]
    assert left[["window", "next_share", "continues", "grows"]].tolist() == [0, 0, 0, 0]
    second = table[table["window"] == 1]
    assert sorted(second["share"]) == [0.0, 1.0]  # the old posts are no share of the second week's
    assert sorted(second["next_share"]) == [0.0, 1.0]
    assert second.set_index("share")["continues"].to_dict() == {0.0: 0.0, 1.0: 1.0}


def test_an_expected_share_is_no_worse_than_the_same_size_again_where_there_is_nothing_to_learn() -> None:
    """Shares that wander: there is no change to foresee, and intervals hold as often as they say."""
    rng, n = np.random.default_rng(5), 900
    table = pd.DataFrame(rng.normal(size=(n, len(FEATURES))), columns=list(FEATURES))
    share = rng.uniform(0.02, 0.3, n)
    following = share * rng.gamma(4, 0.25, n)
    table = table.assign(window=np.arange(n) // 30, basin=0, track=0, share=share, next_share=following, grain=0.001)
    table = table.assign(age=5.0, continues=(following > share / 2) * 1.0, grows=(following > share) * 1.0)
    out = predict(table.assign(lasts=np.nan, sustained=np.nan), 12, seed=0, models=("logistic",)).table
    scores = continuation_scores(out)
    assert scores["size_rmse"] <= 1.01 * scores["size_rmse_persist"]
    assert scores["size_mae"] <= 1.01 * scores["size_mae_persist"]
    assert scores["size_coverage"] == pytest.approx(0.9, abs=0.04)


# -- what is known when ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("t", "models"), [(FIRST, ("logistic",)), (17, ("logistic", "boosting"))])
def test_scrambling_all_that_comes_after_t_changes_no_forecast_made_by_t(t: int, models: tuple[str, ...]) -> None:
    """Boosted trees, tuning, intervals and calibration included; places and times of later posts are random."""
    events, _ = storms()
    rng, end = np.random.default_rng(0), WEEKS[t].end
    past = events.before(end)
    later = len(events) - len(past)
    times, places = rng.uniform(end, WEEKS[-1].end, later), rng.uniform(-6, 6, (later, 2))
    scrambled = Events(np.concatenate([past.t, times]), np.concatenate([past.x, places]))
    tables = []
    for e in (events, scrambled):
        table = predict(table_of(*seen_and_found(e)), FIRST, seed=1, models=models).table
        known_then = table.drop(columns=["next_share", "continues", "grows", "sustained"])
        tables.append(known_then[known_then["window"] <= t])
    assert tables[0]["window"].max() == t
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_forecasts_at_the_end_of_the_data_are_those_with_the_future_unseen() -> None:
    events, _ = storms()
    whole = predict(table_of(*seen_and_found(events)), FIRST, seed=1, models=("logistic",)).table
    short = predict(table_of(*seen_and_found(events, WEEKS[:20])), FIRST, seed=1, models=("logistic",)).table
    assert short["window"].max() == 19
    last = short[short["window"] == 19]
    assert last["continues"].isna().all()
    columns = ["p_continue", "p_grow", "p_sustained", "expected_share", "low", "high", "p_base", "p_persist"]
    pd.testing.assert_frame_equal(
        last[columns].reset_index(drop=True), whole.loc[whole["window"] == 19, columns].reset_index(drop=True)
    )
    assert last[["p_continue", "p_grow", "expected_share", "low", "high"]].notna().all(axis=None)


# -- skill ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_storms_are_foreseen() -> None:
    predictions = predict(table_of(*seen_and_found(storms()[0])), FIRST, seed=0)
    scores, table = continuation_scores(predictions.table), predictions.table
    assert scores["cases"] > 40
    assert scores["auroc"] >= 0.8
    assert scores["brier"] < 0.8 * scores["brier_base"]
    assert scores["direction_accuracy"] > 0.7
    assert scores["size_mae"] < scores["size_mae_persist"]
    assert scores["size_rmse"] < scores["size_rmse_persist"]
    assert 0.8 <= scores["size_coverage"] <= 1
    assert (table["low"] <= table["expected_share"]).all()
    assert (table["expected_share"] <= table["high"]).all()
    tuning = predictions.tuning
    assert set(tuning["target"]) == {"continue", "grow", "sustained", "size"}
    assert tuning.groupby("target")["chosen"].sum().eq(1).all()


@pytest.mark.slow
def test_the_whole_pipeline_foresees_storms() -> None:
    events, rng = storms()[0], np.random.default_rng(0)
    finder = DensityFinder(replicates=2).fit(events, WEEKS[: FIRST + 1], BOX, rng)
    seen = [finder.fixed.see(events, week) for week in WEEKS]
    found = [finder.find(snapshot, rng).basins for snapshot in seen]
    scores = continuation_scores(predict(table_of(seen, found), FIRST, seed=0, models=("logistic",)).table)
    assert scores["auroc"] >= 0.8
    assert scores["brier"] < scores["brier_base"]


def test_nothing_is_foreseen_where_times_are_shuffled() -> None:
    """Every region then keeps its share but for sampling: nearly all basins continue, and none can be told to end."""
    events, _ = storms()
    shuffled = Events(np.random.default_rng(0).permutation(events.t), events.x)
    scores = continuation_scores(
        predict(table_of(*seen_and_found(shuffled)), FIRST, seed=0, models=("logistic",)).table
    )
    assert not scores["auroc"] >= 0.8  # not a number where every basin continued
    assert scores["brier"] > scores["brier_base"] - 0.01


@pytest.mark.slow
def test_same_seed_same_forecasts() -> None:
    table = table_of(*seen_and_found(storms()[0], WEEKS[:10]))
    one, two = (predict(table, 8, seed=4, models=("boosting",)).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


# -- forward chaining -----------------------------------------------------------------------------------------------


def a_chain(y: Array, per_window: int = 10, lag: int = 1) -> tuple[Chain, Array]:
    window = np.arange(len(y)) // per_window
    x = np.random.default_rng(0).normal(size=(len(y), 3))
    return Chain(x, y, window, lag, 0), window


def test_base_rates_count_what_was_known() -> None:
    chain, window = a_chain(np.tile([1.0] * 9 + [0.0], 5), lag=2)
    base = chain.base_rates(range(5))
    assert base[window == 1] == pytest.approx(0.5)
    assert base[window == 2] == pytest.approx((9 + 1) / 12)
    assert base[window == 4] == pytest.approx((27 + 1) / 32)


@pytest.mark.parametrize(("y", "why"), [(1.0, "0 of 40"), (np.nan, "0 known outcomes, 20 needed")])
def test_without_outcomes_of_both_kinds_a_forecast_is_the_base_rate(y: float, why: str) -> None:
    chain, window = a_chain(np.full(50, y))
    choice, rows = chain.choose(("logistic",), 3)
    forecasts, remarks = chain.forecasts(choice, [4])
    np.testing.assert_allclose(forecasts[window == 4], chain.base_rates([4])[window == 4])
    assert all(why in remark for remark in remarks[window == 4])
    assert np.isnan(forecasts[window < 4]).all()
    assert all(row["examples"] == 0 and np.isnan(row["loss"]) for row in rows)


def test_noise_draws_forecasts_to_the_base_rate() -> None:
    rng = np.random.default_rng(1)
    chain, window = a_chain((rng.uniform(size=250) < 0.7).astype(float))
    forecasts, _ = chain.forecasts(chain.choose(("logistic",), 15)[0], range(15, 25))
    assert np.abs(forecasts[window >= 15] - 0.7).mean() < 0.08


def test_no_forecast_is_surer_than_its_examples_allow() -> None:
    y = np.tile([0.0, 1.0], 50)
    chain = Chain(y[:, None], y, np.arange(100) // 10, 1, 0)
    forecasts, _ = chain.forecasts(Choice("logistic", {"C": 1e4}), [9])
    assert forecasts[-1] == pytest.approx(1 - DOUBT / (90 + 2 * DOUBT))


# -- coefficients ---------------------------------------------------------------------------------------------------


def known_examples(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(n, len(FEATURES))), columns=list(FEATURES))
    p = 1 / (1 + np.exp(-1.5 * table["trend"]))
    return table.assign(track=np.arange(n) // 2, continues=(rng.uniform(size=n) < p).astype(float))


@pytest.mark.slow
def test_coefficients_recover_what_matters_and_say_what_has_none() -> None:
    table = known_examples(600).assign(basins=5.0)
    table["log_mass"] = table["log_share"] + 2
    out = coefficients(table).set_index("feature")
    assert out.loc["trend", "low"] < 1.5 < out.loc["trend", "high"]
    assert out.loc["trend", "p_value"] < 1e-6
    assert (out.loc[["age", "late", "speed"], "p_value"] > 0.001).all()
    assert out.loc[["basins", "log_mass"]].isna().all(axis=None)
    assert out.columns.tolist() == ["coefficient", "low", "high", "p_value"]


def test_without_a_finite_estimate_there_is_none() -> None:
    table = known_examples(200)
    parted = table.assign(continues=(table["trend"] > 0).astype(float))
    for bad in (
        parted,
        table.assign(continues=1.0),
        table.assign(continues=np.nan),
        table.head(ENOUGH - 1),
        table.head(0),
    ):
        out = coefficients(bad)
        assert out["feature"].tolist() == ["intercept", *FEATURES]
        assert out.drop(columns="feature").isna().all(axis=None)
    holed = table.assign(speed=table["speed"].where(table.index > 2))
    assert coefficients(holed)["coefficient"].notna().all()


# -- hostile input --------------------------------------------------------------------------------------------------


def test_nothing_found_gives_empty_tables() -> None:
    for counts in ([], [[0, 0, 0]], [[0, 0, 0]] * 3):
        table = table_of(*story(counts))
        out = predict(table, 0, seed=0)
        assert len(table) == len(out.table) == 0
        assert {"p_continue", "p_base", "expected_share", "p_sustained", "remark"} <= set(out.table)
        assert continuation_scores(out.table)["cases"] == 0


@pytest.mark.parametrize("counts", [[[9, 0, 0]], [[9, 0, 0]] * 26, [[9, 5, 0], [0, 0, 0]] * 13])
def test_few_or_all_the_same_examples_give_base_rates(counts: list[list[int]]) -> None:
    out = predict(table_of(*story(counts)), 0, seed=0).table
    assert out["p_continue"].between(0, 1).all()
    pd.testing.assert_series_equal(out["p_continue"], out["p_base"], check_names=False)
    assert out["remark"].str.startswith("base rate").all()
    assert np.isnan(continuation_scores(out)["auroc"])


def test_unknown_models_are_refused() -> None:
    with pytest.raises(ValueError, match="no models forest; there are: logistic, boosting"):
        predict(table_of(*story([[9, 0, 0]])), 0, seed=0, models=("forest",))
