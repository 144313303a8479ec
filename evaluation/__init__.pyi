"""The faces of the package, for type checkers and for the lazy imports of ``__init__.py``."""

from .backtests.backtest import BacktestResult, backtest
from .backtests.plan import Plan
from .comparison import GainInterval, information_gain_intervals
from .nulls import NULLS
from .nulls.run import null_test
from .nulls.worlds import NullResult
from .report.report import leaderboard, write_report
from .run import Evaluation, diagnose, evaluate, report_run
from .scores import SCORES, Score

__all__ = [
    "NULLS",
    "SCORES",
    "BacktestResult",
    "Evaluation",
    "GainInterval",
    "NullResult",
    "Plan",
    "Score",
    "backtest",
    "diagnose",
    "evaluate",
    "information_gain_intervals",
    "leaderboard",
    "null_test",
    "report_run",
    "write_report",
]
