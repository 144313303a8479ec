"""How numbers are written in tables, captions and titles."""

from __future__ import annotations

import math
from collections.abc import Iterable


def signed(value: float, digits: int = 4) -> str:
    """With its sign and so many decimals; −∞ as such, and never a "-0.000"."""
    return "−∞" if value == -math.inf else f"{round(value, digits) + 0.0:+.{digits}f}"


def rounded(value: float) -> str:
    """To four significant digits; what is not known as a dash, and what is zero but for rounding as 0."""
    return "–" if math.isnan(value) else "−∞" if value == -math.inf else f"{value if abs(value) > 1e-12 else 0:.4g}"


def p_in_words(value: float) -> str:
    """A p-value in few characters, such as ``p = 0.03``."""
    if not math.isfinite(value):
        return "p unknown"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}" if value < 0.1 else f"p = {value:.2f}"


def p_in_table(value: float) -> str:
    """A p-value in a column of them: ``< 0.001``, ``0.0312``; a dash where not known."""
    return "< 0.001" if value < 0.001 else rounded(value)


def number(value: float) -> str:
    """Three significant digits; a dash where nothing is known."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) < 1e-12:  # rounding
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}".replace("-", "−")


SAID = 5
"""Basins that one sentence speaks of, at most."""


def listed(names: Iterable[str]) -> str:
    """Names as a list in words: ``a``, ``a and b``, ``a, b and c``."""
    every = list(names)
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def some(names: Iterable[str]) -> str:
    """A few names as a list in words; of many the first ones and how many more."""
    every = list(names)
    return listed(every if len(every) <= SAID else [*every[: SAID - 1], f"{len(every) - SAID + 1} more"])


def plural(n: int, noun: str) -> str:
    """A number of things: ``1 post``, ``2,000 posts``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def in_percent(share: float) -> str:
    """A share or a probability in percent; a dash where unknown."""
    return "–" if math.isnan(share) else "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def chance_of(p: float) -> str:
    """A probability in percent that is never rounded to certainty."""
    return "> 99 %" if p > 0.995 else in_percent(p)


def p_value(p: float, worlds: float) -> str:
    """A p-value with its sign; the least that so many worlds can give is said to be that or less."""
    least = 1 / (worlds + 1)
    return f"≤ {least:.2g}" if p <= least + 1e-9 else f"= {p:.2g}"
