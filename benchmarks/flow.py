"""Motion of density: stpp's drift estimator beside optical flow (OpenCV) and radar motion (pysteps), error and time.

The scene: 100 × 100 cells, 20,000 posts a frame, four Gaussian blobs of standard deviation 5 or 6 cells ± 20 %
near the corners of a square, 10 % uniform noise. Three blobs move straight at different speeds, the fourth stays and
grows by half from the first frame to the last. Speeds are such that no flow has an end-point error of 1.18 cells.
The true velocity of a cell is the mean of the blobs' velocities by their expected density there, halfway between the
first and the last frame; errors are weighted with that density (``epe``). Uniform noise shows no motion to any tool;
``epe_all`` counts it as mass at rest, in the mean as in the weights.
All tools see the same snapshots and estimate from one pair of frames or from four; peers average over the pairs.
Prints a table and writes ``results_flow.csv`` beside this file. README.md says how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import io
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stpp.compute.blas import one_blas_thread
from stpp.domain import Array, Box, Grid
from stpp.events import Events
from stpp.flow.flow import Flow, pooled_pair, snapshots
from stpp.flow.motion import drift_evidence

COLUMNS = ("blob_sd", "tool", "pairs", "epe", "epe_sd", "epe_all", "inside_95", "milliseconds", "time_ratio_to_stpp")
CELLS, POSTS, NOISE, GROWTH, ZERO_EPE = 100, 20_000, 0.1, 1.5, 1.18
BLOB_SDS = (5.0, 6.0)  # cells
GRID = Grid.over(Box((0.0, 0.0), (float(CELLS), float(CELLS))), CELLS)
HELD_OUT, DEVELOPMENT = range(100, 106), range(3)
WINDOW = 4.0  # standard deviation of the window, in bandwidths of the snapshots


@dataclass(frozen=True)
class Scene:
    """Snapshots (K + 1, n, n), their bandwidth, blobs' density and mean velocity halfway, and noise per cell."""

    frames: Array
    bandwidth: float
    density: Array
    velocity: Array
    noise: float

    def errors(self, velocity: Array) -> tuple[float, float]:
        """End-point error over the blobs' mass, and over all mass with the noise at rest."""
        total = self.density + self.noise
        far = np.hypot(*(velocity - self.velocity))
        far_all = np.hypot(*(velocity - self.velocity * self.density / total))
        return float((far * self.density).sum() / self.density.sum()), float((far_all * total).sum() / total.sum())


def scene(seed: int, pairs: int, blob_sd: float) -> Scene:
    """Four blobs on the way, each post where its blob is at that time; the first one stays and grows."""
    rng = np.random.default_rng(seed)
    centres = np.array([(27, 27), (73, 27), (27, 73), (73, 73)]) + rng.uniform(-5, 5, (4, 2))
    sd = blob_sd * rng.uniform(0.8, 1.2, 4)
    angle, speed = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.75, 1.25, 4)
    velocity = np.stack([np.cos(angle), np.sin(angle)], axis=1) * speed[:, None]
    velocity[0] = 0.0
    velocity *= ZERO_EPE * 4 / np.hypot(*velocity.T).sum()
    half = (pairs + 1) / 2  # frames last one day, and time runs from −half to half

    t, x = [], []
    for blob in range(4):
        growth = GROWTH if blob == 0 else 1.0
        most = growth ** (half / pairs)
        when = rng.uniform(-half, half, rng.poisson((1 - NOISE) * POSTS / 4 * 2 * half * most))
        when = when[rng.uniform(0, most, len(when)) < growth ** (when / pairs)]
        t.append(when)
        x.append(centres[blob] + velocity[blob] * when[:, None] + sd[blob] * rng.normal(size=(len(when), 2)))
    n = rng.poisson(NOISE * POSTS * 2 * half)
    t.append(rng.uniform(-half, half, n))
    x.append(GRID.box.sample(n, rng))
    places = np.concatenate(x)
    inside = GRID.box.contains(places)
    events = Events(np.concatenate(t)[inside], places[inside])

    at = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in GRID.edges], indexing="ij"))
    apart = ((at[None] - centres[:, :, None, None]) ** 2).sum(axis=1)
    s = sd[:, None, None]
    blobs = (1 - NOISE) * POSTS / 4 * np.exp(-apart / (2 * s**2)) / (2 * np.pi * s**2)
    density = blobs.sum(axis=0)
    spread = np.sqrt(events.x.var(axis=0).mean())
    bandwidth = spread * (len(events) / (pairs + 1)) ** (-1 / 6) / 2  # half of Scott's rule for a frame
    frames = snapshots(events, np.arange(pairs + 1) + 1 - half, 1.0, GRID, bandwidth)
    truth = np.einsum("bk,bxy->kxy", velocity, blobs) / np.maximum(density, 1e-300)
    return Scene(frames, float(bandwidth), density, truth, NOISE * POSTS / GRID.cells)


def stpp_flow(frames: Array, bandwidth: float) -> Flow:
    before, after, share = pooled_pair(frames)
    evidence = drift_evidence(
        before, after, GRID, frame=1.0, bandwidth=bandwidth, window=WINDOW * bandwidth, dispersion=share
    )
    return Flow.solve(
        evidence, GRID, 0.0, 1.0, frames[-1], velocity_prior=1e3, growth_prior=1e3
    )  # hardly a prior at all


def over_pairs(estimate: Callable[[Array, Array], Array]) -> Callable[[Array, float], Array]:
    """A tool for two frames, averaged over pairs; it gets √density, whose noise is the same everywhere."""

    def tool(frames: Array, _: float) -> Array:
        root = np.sqrt(frames)
        return np.mean([estimate(a, b) for a, b in itertools.pairwise(root)], axis=0)

    return tool


def opencv() -> dict[str, Callable[[Array, float], Array]]:
    """Images of 8 bits; the settings are the best of a few on the development seeds."""
    import cv2

    cv2.setNumThreads(1)
    dis_flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis_flow.setFinestScale(2)

    def grey(a: Array, b: Array) -> tuple[Array, Array]:
        top = max(a.max(), b.max())
        return (a / top * 255).astype(np.uint8), (b / top * 255).astype(np.uint8)

    def dis(a: Array, b: Array) -> Array:
        return dis_flow.calc(*grey(a, b), None).transpose(2, 0, 1)[::-1]

    def farneback(a: Array, b: Array) -> Array:
        return cv2.calcOpticalFlowFarneback(*grey(a, b), None, 0.5, 3, 35, 3, 7, 1.5, 0).transpose(2, 0, 1)[::-1]

    return {"OpenCV DIS": over_pairs(dis), "OpenCV Farneback": over_pairs(farneback)}


def pysteps() -> dict[str, Callable[[Array, float], Array]]:
    """Defaults, on decibels as for radar."""
    with contextlib.redirect_stdout(io.StringIO()):
        from pysteps import motion

    def tool(name: str, most: int, **settings: object) -> Callable[[Array, float], Array]:
        method = motion.get_method(name)

        def velocity(frames: Array, _: float) -> Array:
            decibels = 10 * np.log10(np.maximum(frames, 0.1))
            flows = [method(decibels[k : k + most], **settings)[::-1] for k in range(max(len(frames) - most + 1, 1))]
            return np.mean(flows, axis=0)

        return velocity

    return {"pysteps Lucas–Kanade": tool("LK", 5), "pysteps VET": tool("VET", 2, verbose=False)}


def peers() -> dict[str, Callable[[Array, float], Array]]:
    out = {}
    for module, tools, package in (("cv2", opencv, "opencv-python-headless"), ("pysteps", pysteps, "pysteps")):
        if importlib.util.find_spec(module) is None:
            print(f"{package} is not installed: left out")
        else:
            out |= tools()
    return out


def rows(seeds: range, blob_sd: float) -> list[dict[str, object]]:
    """Every tool on every scene, tools in turn."""
    tools: dict[str, Callable[[Array, float], Array]] = {
        "stpp": lambda frames, h: stpp_flow(frames, h).velocity,
        **peers(),
        "no flow": lambda frames, _: np.zeros((2, *GRID.shape)),
    }
    out: list[dict[str, object]] = []
    for pairs in (1, 4):
        scenes = [scene(seed, pairs, blob_sd) for seed in seeds]
        errors: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
        seconds: dict[str, list[float]] = {name: [] for name in tools}
        if pairs > 1 or blob_sd != BLOB_SDS[0]:
            tools.pop("pysteps VET", None)  # ten seconds or more for each pair
        for tool in tools.values():
            tool(scenes[0].frames, scenes[0].bandwidth)  # compiled and loaded before anything is timed
        for s in scenes:
            for name, tool in tools.items():
                began = time.perf_counter()
                velocity = tool(s.frames, s.bandwidth)
                seconds[name].append(time.perf_counter() - began)
                errors[name].append(s.errors(velocity))
        for name in tools:
            epe, everywhere = np.array(errors[name]).T
            taken = float(np.median(seconds[name]))
            out.append(
                {
                    "blob_sd": blob_sd,
                    "tool": name,
                    "pairs": pairs,
                    "epe": f"{epe.mean():.3f}",
                    "epe_sd": f"{epe.std(ddof=1):.3f}",
                    "epe_all": f"{everywhere.mean():.3f}",
                    "inside_95": f"{np.mean([inside(s) for s in scenes]):.3f}" if name == "stpp" else "",
                    "milliseconds": f"{1e3 * taken:.1f}" if name != "no flow" else "",
                    "time_ratio_to_stpp": f"{taken / np.median(seconds['stpp']):.2g}" if name != "no flow" else "",
                }
            )
    return out


def inside(s: Scene) -> float:
    """Share of the blobs' mass, over both axes, where the true velocity lies within 1.96 standard errors."""
    flow = stpp_flow(s.frames, s.bandwidth)
    near = np.abs(flow.velocity - s.velocity) < 1.96 * flow.velocity_error
    return float((near.mean(axis=0) * s.density).sum() / s.density.sum())


@one_blas_thread
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--development", action="store_true", help="seeds 0–2, to try things on; writes no file")
    development = parser.parse_args().development
    seeds = DEVELOPMENT if development else HELD_OUT
    table = [row for blob_sd in BLOB_SDS for row in rows(seeds, blob_sd)]
    print("  ".join(f"{c:>20}" for c in COLUMNS))
    for row in table:
        print("  ".join(f"{row[c]!s:>20}" for c in COLUMNS))
    if not development:
        with (Path(__file__).parent / "results_flow.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)


if __name__ == "__main__":
    main()
