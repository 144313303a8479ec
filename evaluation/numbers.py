"""How numbers are written in tables, captions and titles."""

from __future__ import annotations

import math


def signed(value: float, digits: int = 4) -> str:
    """With its sign and so many decimals; −∞ as such, and never a "-0.000"."""
    return "−∞" if value == -math.inf else f"{round(value, digits) + 0.0:+.{digits}f}"


def rounded(value: float) -> str:
    """To four significant digits; what is not known as a dash, and what is zero but for rounding as 0."""
    return "–" if math.isnan(value) else "−∞" if value == -math.inf else f"{value if abs(value) > 1e-12 else 0:.4g}"
