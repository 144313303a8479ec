"""How far forecasts of basins are to be trusted: held against the simple rules, and against chance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stpp.reports.words import p_value

if TYPE_CHECKING:
    from basins.analysis import Analysis

RULES = {
    "base": "always naming the base rate",
    "persist": "persistence (what a basin's last change alone would say)",
}
"""Ending of a simple rule's scores → what it does."""

BETTER = 0.001
"""Difference of Brier scores below which two are called equally good."""


def against_rules(analysis: Analysis) -> list[str]:
    """Whether forecasts of going on beat the best simple rule, and chance: a sentence each; none where not known."""
    scores = analysis.scores
    brier, cases = scores.get("brier", math.nan), scores.get("cases", 0.0)
    rivals = {rule: scores.get(f"brier_{rule}", math.nan) for rule in RULES}
    known = {rule: value for rule, value in rivals.items() if math.isfinite(value)}
    out = []
    if math.isfinite(brier) and known:
        best = min(known, key=lambda rule: known[rule])
        gain = known[best] - brier
        how = "better than" if gain > BETTER else "worse than" if gain < -BETTER else "no better than"
        rule = "the best simple rule, " if how == "better than" else ""
        out.append(
            f"Over {cases:,.0f} earlier cases such forecasts were {how} {rule}{RULES[best]}: Brier score {brier:.3f} "
            f"against {known[best]:.3f} (0 = perfect)."
        )
    return [*out, *_against_chance(analysis)]


def _against_chance(analysis: Analysis) -> list[str]:
    tests = analysis.tests
    if not len(tests):
        return []
    rows = tests[tests["statistic"] == "continuation AUROC"]
    if not len(rows):
        return []
    p, worlds = float(rows["p_value"].iloc[0]), float(rows["B"].iloc[0])
    beat = "do better than" if p <= 0.05 else "are not shown to beat"
    return [f"Held against {worlds:.0f} null worlds, they {beat} chance (p {p_value(p, worlds)})."]
