"""Plots of an evaluation as PNG: PRO and ROC curves, PRO against defect size. Computes no figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.evaluation.summary import Summary, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUCKETS = 8


def write_plots(summary: Summary, folder: Path) -> list[Path]:
    """Writes `pro.png`, `roc.png`, `pro_by_size.png`, those with anything to show; returns the paths."""
    with_pixels = [r for r in summary.results if r.curves.get("pixel_pro")]
    with_roc = [r for r in summary.results if r.curves.get("pixel_fpr") or r.curves.get("image_fpr")]
    regions = [region for r in summary.results for region in r.regions]
    written = []
    if with_pixels:
        written.append(_figure(folder / "pro.png", summary, lambda axes: _pro(axes, summary)))
    if any(_roc_points(r) for r in with_roc):
        written.append(_figure(folder / "roc.png", summary, lambda axes: _roc(axes, summary)))
    if regions:
        written.append(_figure(folder / "pro_by_size.png", summary, lambda axes: _by_size(axes, summary)))
    return written


def _figure(path: Path, summary: Summary, draw: Callable[[Any], None]) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    note = headline(summary)
    figure.suptitle(
        note if len(note) <= 105 else note[:102] + "...", fontsize=7.5, color="0.35", x=0.01, ha="left"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _pro(axes: Axes, summary: Summary) -> None:
    results = [r for r in summary.results if r.curves.get("pixel_pro")]
    for result, style in zip(results, _styles(len(results)), strict=True):
        label = f"{result.category}  {100 * (result.metrics['pro'] or 0):.1f}"
        axes.plot(
            _numbers(result.curves["pixel_fpr"]), _numbers(result.curves["pixel_pro"]), label=label, **style
        )
    limit = summary.pro_limit
    axes.set(xlim=(0, limit), ylim=(0, 1), title=f"PRO, integrated up to a false-positive rate of {limit:g}")
    axes.set(xlabel="false-positive rate over defect-free pixels", ylabel="mean coverage of defect regions")
    _legend(axes, len(results))


def _roc(axes: Axes, summary: Summary) -> None:
    results = [r for r in summary.results if _roc_points(r)]
    for result, style in zip(results, _styles(len(results)), strict=True):
        level = _roc_points(result)
        auroc = result.metrics[f"{level}_auroc"] or 0
        fpr, tpr = (_numbers(result.curves[f"{level}_{name}"]) for name in ("fpr", "tpr"))
        axes.plot(fpr, tpr, label=f"{result.category}  {100 * auroc:.1f}", **style)
    levels = " and ".join(sorted({_roc_points(r) for r in results}, reverse=True))
    axes.plot([0, 1], [0, 1], color="0.75", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1), title=f"ROC over {levels}s, with AUROC")
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    _legend(axes, len(results))


def _by_size(axes: Axes, summary: Summary) -> None:
    """Each region a dot, and the mean over regions of similar size: what share of them is found, by size."""
    data = np.array([region for r in summary.results for region in r.regions], dtype=float)
    area, pro = data[:, 0], data[:, 1]
    jitter = np.random.default_rng(0).normal(0, 0.006, pro.size)
    axes.scatter(area, pro + jitter, s=9, color="0.55", alpha=min(0.7, 60 / pro.size**0.7), linewidths=0)
    edges = np.unique(np.quantile(area, np.linspace(0, 1, min(BUCKETS, pro.size) + 1)))
    place = np.searchsorted(edges, area, side="right").clip(1, max(1, edges.size - 1))
    means = [(np.exp(np.log(area[place == i]).mean()), pro[place == i].mean()) for i in np.unique(place)]
    axes.plot(
        *zip(*means, strict=True), color="#b3261e", marker="o", markersize=4, label="mean of similar sizes"
    )
    axes.set_xscale("log")
    axes.set(ylim=(-0.03, 1.03), title=f"PRO of each of {pro.size} defect regions, by its size")
    axes.set(
        xlabel="area of the defect region, px", ylabel=f"PRO of the region (limit {summary.pro_limit:g})"
    )
    axes.legend(frameon=False, fontsize=8, loc="best")


def _roc_points(result: Any) -> str:
    """`pixel` or `image`, whichever curve can be drawn; empty when neither."""
    for level in ("pixel", "image"):
        if result.metrics.get(f"{level}_auroc") is not None and result.curves.get(f"{level}_tpr"):
            return level
    return ""


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values])


def _styles(count: int) -> list[dict[str, Any]]:
    """Distinguishable in print: ten colours, then the same ten dashed, then dotted."""
    from matplotlib import colormaps

    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    dashes = ("-", "--", ":", "-.")
    return [
        {"color": colours[i % 10], "linestyle": dashes[i // 10 % 4], "linewidth": 1.4} for i in range(count)
    ]


def _legend(axes: Axes, count: int) -> None:
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + count // 24)
