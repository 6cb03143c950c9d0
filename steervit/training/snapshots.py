"""Pictures of a run: image, target and heatmap side by side, one row per validation sample.

Letters: S image side in pixels, h x w patches.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from steervit.files import write_whole

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
