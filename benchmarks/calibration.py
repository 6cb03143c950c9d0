"""How often the true false-alarm rate exceeds the bound that was promised, over simulated calibrations.

    python benchmarks/calibration.py [--calibrations 2000] [--confidence 0.95]

Held out: n scores from a known distribution (normal; lognormal, heavy to the right; whole numbers, so with ties), the
rank and bound as `calibrate --false-alarms` chooses them, and the distribution's true rate above the threshold. It
has to exceed the bound in 5 % of the calibrations at most, but for noise (standard error 0.5 points of 2,000).
Cross-fitted: points of a normal distribution are scored by the distance to their nearest reference among the other
folds' points, new points among all; the true rate is measured on 2,000 new ones. That is the statement called an
estimate, and here is how good it is.
"""

from __future__ import annotations

import click
import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import lognorm, norm, poisson

from anomaly.decision.calibration import Calibration
from anomaly.decision.promise import Scoring, promised

CASES = ((20, None), (59, 0.05), (100, 0.1), (299, 0.01), (500, 0.02))
SCORES = {"normal": norm(), "lognormal": lognorm(1.5), "whole numbers": poisson(20)}
WIDTH = 8  # dimensions of the points of the cross-fitted cases


def held_out(
    rng: np.random.Generator, n: int, target: float | None, scores, confidence: float
) -> tuple[float, float]:
    """True rate and bound of one calibration on n scores of the distribution."""
    promise = promised(n, target, confidence)
    calibration = Calibration(tuple(scores.rvs(n, random_state=rng)))
    return float(scores.sf(calibration.threshold(promise.rank))), promise.bound or 0.0


def cross_fitted(rng: np.random.Generator, n: int, folds: int, confidence: float) -> tuple[float, float]:
    """True rate and estimated bound when n points in `folds` folds are references and calibration at once."""
    promise = promised(n, None, confidence, Scoring("cross-fitted", folds=folds))
    points, fresh = rng.standard_normal((n, WIDTH)), rng.standard_normal((2000, WIDTH))
    apart = cdist(points, points)
    fold = np.arange(n) % folds
    apart[fold[:, None] == fold[None, :]] = np.inf
    threshold = Calibration(tuple(apart.min(axis=1))).threshold(promise.rank)
    return float((cdist(fresh, points).min(axis=1) > threshold).mean()), promise.bound or 0.0


def row(name: str, n: int, asked: str, results: list[tuple[float, float]]) -> str:
    """One line of the table: mean rate, bound, and how often the rate exceeded it."""
    rates, bounds = np.array(results).T
    over = 100 * np.mean(rates > bounds)
    return f"| {name} | {n} | {asked} | {100 * rates.mean():.2f} % | {100 * bounds[0]:.2f} % | {over:.1f} % |"


@click.command()
@click.option("--calibrations", default=2000, show_default=True)
@click.option("--confidence", default=0.95, show_default=True)
def main(calibrations: int, confidence: float) -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    print("| scores | parts | asked | mean true rate | bound | bound exceeded in |")
    print("|---|---|---|---|---|---|")
    for name, scores in SCORES.items():
        for n, target in CASES:
            results = [held_out(rng, n, target, scores, confidence) for _ in range(calibrations)]
            print(row(name, n, "-" if target is None else f"{100 * target:g} %", results), flush=True)
    for n, folds in ((20, 20), (20, 5), (60, 60), (60, 5)):
        results = [cross_fitted(rng, n, folds, confidence) for _ in range(calibrations)]
        print(row(f"cross-fitted, {folds} folds", n, "-", results), flush=True)


if __name__ == "__main__":
    main()
