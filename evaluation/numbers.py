"""How numbers are written in tables, captions and titles."""

from __future__ import annotations

import math


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
