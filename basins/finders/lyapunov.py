"""The `lyapunov` finder: basins of attraction of the drift and diffusion that move the density of posts.

Posts are not the same particle from one window to the next, so there are no paths to average as Kramers and Moyal do.
What can be estimated is how the *density* moves:

- a velocity v and a relative growth r in each cell, from the continuity equation between successive windows
  (:func:`stpp.flow.motion.drift_evidence`), with standard errors and shrunk towards 0;
- a diffusion D, from how fast a window's density goes back to the mean ρ of all windows: ∂p/∂t = ∇·(D ρ ∇(p/ρ)) −
  ∇·(p v), the Smoluchowski equation with drift D ∇ log ρ + v. D and the shrinkage of v are those under which each
  window best predicts the posts of the next one (log score).

D is the rate at which windows forget, known to the ladder of values that are tried (factors of 4) and only as well as
the windows seen so far represent ρ: of a lone density that spreads, ρ is its own mean and the spread goes unseen.

What cannot be estimated: motion along the contours of the density, which changes nothing that is seen; and D where the
density does not change. There each window is another draw from ρ, whatever came before predicts nothing, and the best D
is the largest that is tried: its memory is shorter than a window, and escape rates are lower bounds. Times are in days
of that model, not the days for which any reader stays.

The quasi-potential is U = −D log ρ_s with ρ_s the stationary density of drift and diffusion [1]_; where v is nowhere
beyond chance, ρ_s = ρ. Basins of attraction are the watersheds of U.

References
----------
.. [1] Zhou, Aliyu, Aurell & Huang (2012), Quasi-potential landscape in complex multi-stable systems, J. R. Soc.
   Interface 9, 3539-3553.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from basins.basin import Finder, Found, describe
from basins.chance.noise import noise_level
from basins.chance.persistence import MergeTree
from basins.finders.density import Chance, grid_space, known_regions
from basins.space import Snapshot
from basins.walks.diffusion import EPSILON
from basins.walks.drift import FRAMES, SHRINKAGES, SMOOTHING, _Past, estimate
from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Box
from stpp.events import Events, Window

CELLS = {1: 256, 2: 64, 3: 16}
"""Grid cells per axis in 1, 2 and 3 dimensions: every candidate solves a linear system on them."""

LEVEL = 0.05
"""Probability of a false basin, by density or by drift, in any of the windows looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LyapunovFinder(Finder):
    """Basins of attraction of the quasi-potential of drift and diffusion, deeper than chance; up to 3 dimensions.

    A window's drift is looked for between its own quarters, so that no earlier window is needed; with a half-life,
    what came before the window counts in its density but not in its drift.

    Parameters
    ----------
    diffusion : D, map units² per day; chosen by :meth:`fit`
    known : (K, cells) regions of the basins of all training windows taken together, see :mod:`basins.finders.density`
    """

    name: ClassVar[str] = "lyapunov"
    summary_line: ClassVar[str] = "basins of attraction of the drift and diffusion that move the density; up to 3-d"

    diffusion: float = 0.0
    known: NDArray[np.bool_] | None = None

    def fit(self, events: Events, training: Sequence[Window], box: Box, rng: np.random.Generator) -> Self:
        """A grid over the box, and the bandwidth and diffusion that predict best from window to window.

        Raises
        ------
        ValueError
            if the box has more than 3 dimensions, or no post of the training windows falls into it
        """
        space = grid_space(self.name, CELLS, events, training, box, rng)
        seen = [snapshot for window in training if (snapshot := space.see(events, window).witnessed).totals.sum() > 0]
        diffusion = estimate(seen).diffusion if len(seen) > 1 else space.bandwidth**2 / (2 * training[-1].duration)
        fitted = replace(self, space=space, diffusion=diffusion, known=None)
        return replace(fitted, known=known_regions(fitted, events, training, rng))

    @one_blas_thread
    def look(self, snapshot: Snapshot, rng: np.random.Generator) -> Found:
        """The watersheds of the quasi-potential; a cell's membership is the share of its density above the noise."""
        if not snapshot.density.any():
            return Found(())
        tilt, remark = self._tilt(snapshot)
        neighbours = self.fixed.partition.neighbours
        tree = MergeTree.of(np.sqrt(snapshot.density * tilt), neighbours)
        known = np.zeros((0, len(tilt)), dtype=bool) if self.known is None else self.known
        cuts = Chance.of(snapshot, 2 * self.windows, known, rng)  # half of the level is the drift's
        alive = cuts.survivors(tree)
        if not alive.any():
            return Found((), f"no basin of attraction is deeper than chance; {remark}")
        noise = noise_level(snapshot, self.fixed.density, self.fixed.partition.volumes(rng), rng)
        owner = tree.basins(alive, ground=math.sqrt(2 * noise))
        share = np.maximum(0.0, 1 - noise / np.maximum(snapshot.density, EPSILON))
        attractors = np.flatnonzero(alive)
        memberships = np.array([np.where(owner == peak, share, 0.0) for peak in attractors])
        again = np.zeros(len(attractors))
        for _ in range(self.replicates):
            drawn = MergeTree.of(np.sqrt(self.fixed.density(snapshot.replicate(rng)) * tilt), neighbours)
            survivor = drawn.basins(cuts.survivors(drawn))[tree.cell[attractors]]
            again += (survivor >= 0) & (owner[drawn.cell[survivor]] == attractors)
        return Found(describe(snapshot, memberships, again / max(1, self.replicates)), remark)

    def _tilt(self, snapshot: Snapshot) -> tuple[Array, str]:
        """(cells,) stationary density of drift and diffusion over that of diffusion alone, and what to say of it."""
        quarters = [snapshot.part(window) for window in snapshot.window.rolling(snapshot.window.duration / FRAMES)]
        even = np.ones(len(self.fixed.partition))
        if any(not part.totals.sum() > 0 for part in quarters):
            return even, "too few posts to look for drift: the potential is that of the density alone"
        past = _Past.of(quarters)
        flow, box = past.flow(max(SHRINKAGES)), self.fixed.partition.box
        # As many places as windows of one velocity fit side by side into the box are looked at.
        places = max(1.0, box.volume / (2 * SMOOTHING * self.fixed.bandwidth) ** box.d)
        moving = flow.significant(1 - LEVEL / 2 / (self.windows * places)).ravel()
        if not moving.any():
            return even, "drift is nowhere beyond chance: the potential is that of the density alone"
        velocity = np.where(moving, flow.velocity.reshape(box.d, -1), 0.0)
        field = replace(past.field(self.diffusion, 0.0), velocity=velocity)
        return field.stationary / field.density, f"drift is beyond chance in {moving.mean():.0%} of the cells"
