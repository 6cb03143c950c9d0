"""The files that MVTec's server takes for the private test sets of MVTec AD 2. Scores nothing."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.encode import to_mask_png
from anomaly.runs.saving import explained, save
from anomaly.testsets.samples import Sample

MAPS, THRESHOLDED = "anomaly_images", "anomaly_images_thresholded"


def write_thresholded(out: Path, category: str, key: str, mask: np.ndarray) -> None:
    """Writes `anomaly_images_thresholded/<object>/<split>/<stem>.png`, 255 where `mask` (bool H x W)."""
    save(out / THRESHOLDED / category / f"{key}.png", to_mask_png(mask))


def write_submission(
    out: Path, category: str, samples: list[Sample], read: Callable[[Sample], np.ndarray]
) -> None:
    """Writes `anomaly_images/<object>/<split>/<stem>.tiff`, float16, for every sample of a category.

    float16 ends at 65,504 and loses small values, as a softmax over patches gives. So all maps of a category
    are multiplied by one power of two that brings the highest value near 1,000: scores keep their order.
    """
    highest = max((float(np.abs(read(s)).max()) for s in samples), default=0.0)
    if not math.isfinite(highest):
        raise SteerAnomalyError(f"{category}: a map holds an infinite value, which no submission may have")
    factor = 2.0 ** (10 - math.frexp(highest)[1]) if highest else 1.0
    for sample in samples:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, np.ascontiguousarray(read(sample) * factor, np.float16))
        with explained(f"the submission of {category}", out, None):
            save(out / MAPS / category / f"{sample.key}.tiff", buffer.getbuffer())
