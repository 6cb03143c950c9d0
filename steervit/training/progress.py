"""Pictures of a run: the curves in its metrics.jsonl, and heatmaps beside targets on samples.

Letters: B samples, S image side in pixels, h x w patches.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from steervit.files import write_whole
from steervit.training.logs import METRICS, read_metrics

SIDE, CAPTION = 160, 14  # pixels
HOT = np.array([255, 40, 0])


def draw_rows(
    path: Path,
    pixels: Tensor,
    targets: Tensor,
    logits: Tensor,
    texts: Sequence[str],
    grid: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """pixels (B, 3, S, S) normalised with `mean` and `std`, targets and logits (B, h*w), B texts -> a PNG."""
    sheet = Image.new("RGB", (3 * SIDE, len(texts) * (SIDE + CAPTION)), "white")
    heat = logits.float().softmax(-1)
    for i, text in enumerate(texts):
        image = _image(pixels[i], mean, std)
        top = i * (SIDE + CAPTION)
        ImageDraw.Draw(sheet).text(
            (2, top + 1), text[:78].encode("latin-1", "replace").decode("latin-1"), "black"
        )
        for column, values in enumerate((None, targets[i], heat[i])):
            one = image if values is None else _over(image, values.view(grid).numpy())
            sheet.paste(Image.fromarray(one), (column * SIDE, top + CAPTION))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


def _image(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    rgb = pixels.permute(1, 2, 0).numpy() * np.asarray(std) + np.asarray(mean)
    small = Image.fromarray((rgb.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _over(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` (h, w), scaled by their maximum, in red over the grey image."""
    scaled = (values / max(float(values.max()), 1e-12)).astype(np.float32)
    strength = np.asarray(Image.fromarray(scaled).resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., None]
    grey = image.mean(-1, keepdims=True).repeat(3, -1)
    return (grey * (1 - 0.8 * strength) + HOT * 0.8 * strength).clip(0, 255).astype(np.uint8)


def plot_run(folder: Path, out: Path | None = None) -> Path:
    """Write the curves to `out` (default: curves.png in the run's folder), and return its path.

    Raises ValueError when `folder` holds no run or nothing was logged yet.
    """
    try:
        lines = read_metrics(folder)
    except FileNotFoundError:
        raise ValueError(f"no run in {folder}: expected {METRICS} in it, as training writes") from None
    if not lines:
        raise ValueError(
            f"{folder / METRICS} is empty: nothing was logged yet, wait for train.log_every steps"
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    trained = [line for line in lines if "loss" in line]
    for axis, key, title in zip(
        axes.flat,
        ("loss", "pmass", "lr", "images_per_s"),
        (
            "training loss",
            "pmass: training (grey), validation by source",
            "learning rate",
            "images per second",
        ),
        strict=True,
    ):
        grey = {"color": "0.75"} if key == "pmass" else {}
        axis.plot([one["step"] for one in trained], [one[key] for one in trained], linewidth=1, **grey)
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
    _validation(axes[0, 1], [line for line in lines if "validation" in line])
    figure.suptitle(folder.resolve().name)
    out = out or folder / "curves.png"
    figure.savefig(out, dpi=110)
    return out


def _validation(axis: Any, lines: Sequence[dict[str, Any]]) -> None:
    names = sorted({name for line in lines for name in line["validation"]})
    for name in names:
        points = [(line["step"], line["validation"][name]) for line in lines if name in line["validation"]]
        width = 2.2 if name == "all" else 1
        axis.plot(*zip(*points, strict=True), marker=".", linewidth=width, label=name)
    if names:
        axis.legend(fontsize=8)
