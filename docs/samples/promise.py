"""Draws docs/verdicts.png: what n good parts allow one to promise. Run: python docs/samples/promise.py

It needs the extra [plots].
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from anomaly.decision.promise import expected_rate, upper_bound

matplotlib.use("Agg")
OUT = Path(__file__).parent.parent / "verdicts.png"
CONFIDENCE = 0.95


def main() -> None:
    """Write the figure."""
    from matplotlib import pyplot as plt

    counts = np.unique(np.geomspace(5, 1000, 200).round().astype(int))
    figure, axes = plt.subplots(figsize=(7, 4), dpi=110)
    for rank, colour in ((1, "#0f5fa8"), (2, "#2e7d4f"), (5, "#a16207")):
        able = counts[counts > 2 * rank]
        label = "the highest good score" if rank == 1 else f"the {rank}{'nd' if rank == 2 else 'th'} highest"
        axes.plot(able, [100 * upper_bound(n, rank, CONFIDENCE) for n in able], color=colour, label=label)
        axes.plot(
            able, [100 * expected_rate(n, rank) for n in able], color=colour, linestyle=":", linewidth=1
        )
    for n in (29, 59, 299):
        axes.plot(n, 100 * upper_bound(n, 1, CONFIDENCE), "o", color="#0f5fa8")
        axes.annotate(
            f"{n}", (n, 100 * upper_bound(n, 1, CONFIDENCE)), xytext=(4, 6), textcoords="offset points"
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="good parts in the calibration",
        ylabel="false alarms, % of good parts",
    )
    ticks = ([5, 10, 20, 50, 100, 200, 500, 1000], [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])
    for axis, values in zip((axes.xaxis, axes.yaxis), ticks, strict=True):
        axis.set_ticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(title="threshold: line at most (95 %), dots expected")
    figure.tight_layout()
    figure.savefig(OUT)


if __name__ == "__main__":
    main()
