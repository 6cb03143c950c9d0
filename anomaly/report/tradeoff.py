"""The trade-off of a profile as a picture: defects missed against the false alarms that can be promised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomaly.decision.calibration import Choice
from anomaly.runs.saving import save


def draw_tradeoff(found: Sequence[Choice], chosen: int, confidence: float, title: str, path: Path) -> None:
    """Write a PNG. `found` are the choices with their misses, `chosen` the rank of the profile's own.

    Raises `OSError`, and `ImportError` without matplotlib.
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = [(100 * one.bound, one.misses, one.rank) for one in found if one.misses is not None]
    bounds = [bound for bound, _, _ in known]
    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    low, high = ([100 * getattr(missed, end) for _, missed, _ in known] for end in ("low", "high"))
    axes.fill_between(bounds, low, high, step="post", color="#0f5fa8", alpha=0.15, linewidth=0)
    rates = [100 * missed.rate for _, missed, _ in known]
    axes.step(bounds, rates, where="post", color="#0f5fa8", label="missed, with its interval")
    for bound, missed, rank in known:
        if rank == chosen:
            axes.plot(bound, 100 * missed.rate, "o", color="#c62828", label="this profile")
    axes.set(
        xlim=(0, 100), ylim=(-2, 102), title=title, ylabel=f"of {known[0][1].total} defective pictures missed, %",
        xlabel=f"false alarms at most, % of good parts, with {100 * confidence:g} % confidence",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    save(path, buffer.getvalue())
