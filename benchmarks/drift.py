"""How often the drift alarm is false, and how soon it finds a shift, on drawn scores.

    python benchmarks/drift.py [--runs 1000] [--parts 1000] [--calibration 100]

Scores are normal; the promise does not depend on that. In half of the runs scores are also cut at the calibration's
second largest score, as parts judged defective are. Detection: a shift of the mean by one standard deviation, at once
or after 500 parts; parts until the alarm, median over a fifth of the runs.
"""

from __future__ import annotations

import time

import click
import numpy as np

from anomaly.decision.drift import Drift

SIZES = (20, 50, 100, 300)


def alarm_after(
    rng: np.random.Generator, size: int, parts: int, shift: float, start: int, *, cut: bool = False
) -> int | None:
    """Parts taken until the alarm, None without one; `shift` is added from part `start` on."""
    calibration = rng.standard_normal(size)
    threshold = float(np.sort(calibration)[-2]) if cut else None
    drift = Drift(calibration.tolist(), threshold, seed=int(rng.integers(1 << 31)))
    for part, score in enumerate(rng.standard_normal(parts).tolist()):
        if drift.update(score + shift * (part >= start)).alarm:
            return part + 1
    return None


@click.command()
@click.option("--runs", default=1000, show_default=True)
@click.option("--parts", default=1000, show_default=True, help="Exchangeable parts in a run.")
@click.option("--calibration", default=100, show_default=True, help="Calibration scores in those runs.")
def main(runs: int, parts: int, calibration: int) -> None:
    """Print both tables."""
    rng, began = np.random.default_rng(0), time.perf_counter()
    found = [alarm_after(rng, calibration, parts, 0.0, 0, cut=bool(run % 2)) for run in range(runs)]
    false = sum(after is not None for after in found)
    print(f"false alarms: {false} of {runs} runs of {parts} exchangeable parts ({100 * false / runs:.1f} %)")
    print(f"{1e6 * (time.perf_counter() - began) / (runs * parts):.0f} microseconds a part")
    print("\n| calibration | shift after | median parts to alarm | found within 100 | alarms before |")
    print("|---|---|---|---|---|")
    for size in SIZES:
        for start in (0, 500):
            delays = [alarm_after(rng, size, start + 500, 1.0, start) for _ in range(max(20, runs // 5))]
            early = sum(delay is not None and delay <= start for delay in delays)
            waits = [
                np.inf if delay is None else delay - start
                for delay in delays
                if delay is None or delay > start
            ]
            share = np.mean([wait <= 100 for wait in waits])
            print(
                f"| {size} | {start} | {np.median(waits):.0f} | {100 * share:.0f} % | {early} of {len(delays)} |"
            )


if __name__ == "__main__":
    main()
