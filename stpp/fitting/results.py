"""What a fit reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Parameter:
    """One estimated number: value, standard error (None where it has none), unit."""

    value: float
    standard_error: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class FitResult:
    """What a fit reports, apart from the model itself.

    Parameters
    ----------
    n_events : events in the training window
    log_likelihood : at the optimum, in map units and days
    parameters : name → Parameter
    free_parameters : how many were estimated (those on a bound not counted)
    background_rate : events per day that no earlier event explains
    branching_ratio : expected direct offspring per event
    converged : whether the optimiser met its tolerance
    seconds : wall time of the fit

    Examples
    --------
    >>> found = FitResult(100, 250.0, {"rate": Parameter(10.0, 1.0, "events/day")}, free_parameters=1)
    >>> found.aic
    -498.0
    >>> print(found.summary("a constant rate").splitlines()[-1])
    rate            10           1   [8.04, 11.96]  events/day
    """

    n_events: int
    log_likelihood: float
    parameters: dict[str, Parameter] = field(default_factory=dict)
    free_parameters: int = 0
    background_rate: float = 0.0
    branching_ratio: float = 0.0
    converged: bool = True
    seconds: float = 0.0

    def __post_init__(self) -> None:
        named = {k: v if isinstance(v, Parameter) else Parameter(**v) for k, v in self.parameters.items()}
        object.__setattr__(self, "parameters", named)

    @property
    def aic(self) -> float:
        """Akaike's information criterion, 2k − 2 log L."""
        return 2 * self.free_parameters - 2 * self.log_likelihood

    def __str__(self) -> str:
        return self.summary("fit")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def summary(self, title: str) -> str:
        """A statistician's table: estimate, standard error, 95 % interval, log-likelihood, AIC."""
        lines = [
            title,
            f"events              {self.n_events:,}",
            f"log-likelihood      {self.log_likelihood:,.2f}",
            f"AIC                 {self.aic:,.2f}   ({self.free_parameters} free parameters)",
            f"background rate     {self.background_rate:,.4g} events/day",
            f"branching ratio     {self.branching_ratio:.4f}",
            f"converged           {'yes' if self.converged else 'NO'}   in {self.seconds:.2f} s",
            "",
        ]
        if self.parameters:
            width = max(len(name) for name in self.parameters)
            lines.append(f"{'':{width}}  {'estimate':>12} {'std. error':>11}   95 % interval")
            for name, p in self.parameters.items():
                row = f"{name:{width}}  {p.value:>12.5g}"
                if p.standard_error is not None:
                    low, high = p.value - 1.96 * p.standard_error, p.value + 1.96 * p.standard_error
                    row += f" {p.standard_error:>11.3g}   [{low:.5g}, {high:.5g}]"
                lines.append(f"{row}  {p.unit}".rstrip())
        return "\n".join(lines)
