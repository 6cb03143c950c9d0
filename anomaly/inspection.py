"""The one result of an inspection. It flows from the inspector to the CLI, the report and the metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anomaly.decision.gate import Look


@dataclass(frozen=True)
class Region:
    """One connected defect region (8-connected), in pixels of the inspected image.

    `area` counts pixels; `box_xyxy` is (x0, y0, x1, y1) with x1, y1 exclusive; `centroid_xy` is the
    unweighted centre of the region's pixels; `peak` is the highest heatmap value inside it.
    """

    area: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    peak: float

    @property
    def longer_side(self) -> int:
        """Of its box, in pixels: what is meant by the size of a region."""
        x0, y0, x1, y1 = self.box_xyxy
        return max(x1 - x0, y1 - y0)


@dataclass(frozen=True)
class Inspection:
    """What one inspection of one image found.

    `heatmap` is float32 H x W at the image's own size, higher is more anomalous; its unit is that of
    `activation` (a logit, a probability). `score` is the image's score in the same unit. `mask` is bool
    H x W. `is_anomalous` is `score >= threshold`, or None when no threshold is known for the model and the
    settings used; the mask is then empty, as it is for an image judged OK. `model` names what produced it.
    `parts` are the maps that were added up, by name, each at a size of its own; where pictures were compared,
    `compared_with` counts the others of the run and `closest` is the content hash of the most similar one,
    `likest_patch` the patch of it, row by row, that is most like what lies where the heatmap is highest. With
    references, `unlike` is how unlike them the picture is as a whole, the median z-score of its patches.
    With a profile, `p_value` is the share of its good parts that score as high (0..1, one added), `spreads` how many
    times their usual spread the score lies above the usual one (None where they are all alike), and `unfit` says, in
    sentences, why the photograph is not fit to be judged; `is_anomalous` is then None. `look` is what the gate saw.
    `mm_per_pixel` is the scale of the picture, None where it is not known.
    """

    score: float
    is_anomalous: bool | None
    heatmap: np.ndarray
    mask: np.ndarray
    regions: tuple[Region, ...]
    threshold: float | None
    object: str
    model: str
    milliseconds: float = 0.0
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    compared_with: int = 0
    closest: str | None = None
    likest_patch: int | None = None
    unlike: float | None = None
    p_value: float | None = None
    spreads: float | None = None
    unfit: tuple[str, ...] = ()
    look: Look | None = None
    mm_per_pixel: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, ready for JSON."""
        scale = self.mm_per_pixel
        known = {"mm_per_pixel": scale} if scale else {}
        return known | {
            "verdict": self.verdict,
            "score": self.score,
            "threshold": self.threshold,
            "regions": [asdict(region) | millimetres(region, scale) for region in self.regions],
            "object": self.object,
            "model": self.model,
            "milliseconds": self.milliseconds,
            "compared_with": self.compared_with,
            "p_value": self.p_value,
            "spreads": self.spreads,
            "unfit": list(self.unfit),
        }

    def overlay(self, image: np.ndarray) -> np.ndarray:
        """The photograph with heatmap and outlines, RGB uint8, at most 1600 px on the longer side.

        `image` is RGB uint8 H x W x 3, as it was inspected; the colour scale is that of this image alone.
        """
        from anomaly.pictures.overlay import ColorScale, draw_overlay, outlines

        scale = ColorScale.from_heatmap(self.heatmap, self.threshold)
        boxes = [region.box_xyxy for region in self.regions]
        return draw_overlay(image, self.heatmap, scale, outlines(self.mask), boxes)

    @property
    def verdict(self) -> str:
        """`defect`, `ok`, `unfit` to be judged, or `unjudged` when there is no threshold."""
        if self.unfit:
            return "unfit"
        if self.is_anomalous is None:
            return "unjudged"
        return "defect" if self.is_anomalous else "ok"


def millimetres(region: Region, mm_per_pixel: float | None) -> dict[str, float]:
    """Area (mm2) and longer side (mm) of a region; empty where the picture's scale is not known."""
    if mm_per_pixel is None:
        return {}
    return {"area_mm2": region.area * mm_per_pixel**2, "size_mm": region.longer_side * mm_per_pixel}
