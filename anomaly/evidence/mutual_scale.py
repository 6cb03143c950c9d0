"""Scores of a run brought to one scale, so that the same number means the same oddness for any part.

The good majority of patches sets centre and width. Knows nothing of where scores come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.errors import SteerAnomalyError

NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
ONE_SIGMA = 84.134  # percentile that lies one standard deviation above the median
RELATIVE = 0.1  # of the typical score: no width is narrower, however alike the patches are
PATCHES = (
    4_000_000  # that set a scale: of more, evenly spread ones of each image, so that memory stays bounded
)
ABSOLUTE = 0.01  # in units of the scores; of mutual scores, a hundredth of the distance of unrelated patches


@dataclass(frozen=True)
class RobustScale:
    """What a score is measured by: `centre` and `width`, in units of the scores; `width` is above 0."""

    centre: float
    width: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Scores of any shape -> float32, 0 at the typical patch, 1 for each width above it."""
        return ((np.asarray(scores, np.float64) - self.centre) / self.width).astype(np.float32)


def robust_scale(scores_per_image: Sequence[np.ndarray]) -> RobustScale:
    """Centre: the median of all patches of the run. Width: the widest of

    1.4826 times the median absolute deviation; the median's distance to the 84th percentile (where half of every
    image is bare background, that deviation is the background's); a tenth of the median; a hundredth of a unit.
    The last two are floors: they keep a run in which nothing is odd from being stretched until something is. Defects
    set the width only where they cover more than a sixth of all patches of the run.
    Raises `SteerAnomalyError` without patches and for scores that are not finite.
    """
    step = max(1, -(-sum(np.size(scores) for scores in scores_per_image) // PATCHES))
    flat = [np.asarray(scores).ravel()[::step].astype(np.float64) for scores in scores_per_image]
    patches = np.concatenate(flat) if flat else np.empty(0)
    if not patches.size or not np.isfinite(patches).all():
        what = "a score that is not finite" if patches.size else "none"
        raise SteerAnomalyError(
            f"expected finite scores of at least one patch, got {what}: leave that image out"
        )
    centre = float(np.median(patches))
    deviation = NORMAL * float(np.median(np.abs(patches - centre)))
    above = float(np.percentile(patches, ONE_SIGMA)) - centre
    return RobustScale(centre, max(deviation, above, RELATIVE * abs(centre), ABSOLUTE))


def robust_scores(scores_per_image: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scores of each image, any shapes -> the same shapes, float32, (score - centre) / width of `robust_scale`."""
    scale = robust_scale(scores_per_image)
    return [scale(scores) for scores in scores_per_image]
