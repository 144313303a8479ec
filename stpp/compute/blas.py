"""One BLAS thread for loops over small matrices, where handing work to a second thread costs far more than it saves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")

_controller = cache(ThreadpoolController)  # finding the loaded libraries takes milliseconds, so only once


def one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` with BLAS on one thread; measured on two cores, 11 times faster for forecasts on 120 × 120."""

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
