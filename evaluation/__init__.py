"""Judging forecasts: scores, rolling-origin backtests, comparisons with honest intervals, reports."""

from evaluation.backtests.backtest import BacktestResult, backtest
from evaluation.backtests.plan import Plan
from evaluation.comparison import GainInterval, information_gain_intervals
from evaluation.report.report import leaderboard, write_report
from evaluation.scores import SCORES, Score

__all__ = [
    "SCORES",
    "BacktestResult",
    "GainInterval",
    "Plan",
    "Score",
    "backtest",
    "information_gain_intervals",
    "leaderboard",
    "write_report",
]
