"""From the maps of one category to its figures. Does not care who made the maps, nor where the result goes.

Several processes each count their share; counts are integers, so their sum has the same bits for any split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.category_figures import named_figures, thinned_curves
from anomaly.evaluation.labelled import ImageFigures, ImageScore, Overlap, Problem, TestImages
from anomaly.evaluation.region_scores import image_pro, region_scores
from anomaly.metrics import ImageMetrics, MetricResult, PixelMetrics
from anomaly.metrics.calpro import calpro200
from anomaly.metrics.segmentation import SegF1
from anomaly.testsets.samples import Sample, read_mask
from steervit.processes import Processes

RESOLUTION = "each image's own size"


@dataclass(frozen=True)
class CategoryResult:
    """The figures of one category, fractions or None with the reason in `undefined`.

    `metrics` holds `anomaly.testsets.cards.METRICS`, and PRO at other limits as `pro@0.05`. `protocols` holds the same
    maps under other definitions of PRO. `seg_f1` is the pixel F1 at the model's own threshold. `images` has
    one entry per test image, `regions` one [area in px, PRO of
    that region] per defect region, `curves` points such as `pixel_fpr`, `pixel_pro`.
    """

    category: str
    object: str
    group: str | None
    good: int
    defective: int
    metrics: dict[str, float | None]
    undefined: dict[str, str]
    provenance: dict[str, Any]
    error_bound: dict[str, float]
    threshold: dict[str, float | None]
    seg_f1: float | None = None
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    regions: list[list[float]] = field(default_factory=list)
    images: list[ImageFigures] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CategoryResult:
        """The result that `to_dict` gave. Raises `TypeError` or `KeyError` for anything else."""
        return cls(**{**content, "images": [ImageFigures(**entry) for entry in content["images"]]})


@dataclass(frozen=True)
class Pixels:
    """Pixel figures of one category and what else its maps tell: PRO per region, by image key."""

    result: MetricResult | None
    why_not: str
    regions: dict[str, list[list[float]]]
    protocols: dict[str, dict[str, Any]]
    problems: list[Problem]


def score_category(
    images: TestImages,
    read: Callable[[Sample], np.ndarray],
    scores: Mapping[str, ImageScore],
    problems: list[Problem],
    processes: Processes,
    limits: tuple[float, ...] = (0.3,),
    calpro_size: int | None = None,
) -> CategoryResult:
    """Computes everything about one category from its maps.

    `read(sample)` returns a map H x W at the image's own size; images without an entry in `scores`, by key, are
    not counted. `limits` are the false-positive rates PRO is integrated up to, the
    first being `pro`. With `calpro_size` the maps are also scored as `calpro200` does, at that many pixels
    squared, under `protocols`. All processes must call this together; all get the same result.
    """
    samples = [s for s in images.samples if s.key in scores]
    pixels = score_pixels(samples, read, processes, limits, calpro_size)
    broken = {p.file for p in pixels.problems}
    counted = [s for s in samples if str(s.image) not in broken]
    image_result = _image_result(counted, scores)
    named = named_figures(pixels.result, pixels.why_not, image_result)
    return CategoryResult(
        category=images.name,
        object=images.object,
        group=images.group,
        good=sum(s.defective is False for s in counted),
        defective=sum(s.defective is True for s in counted),
        protocols=pixels.protocols,
        curves=thinned_curves(pixels.result, image_result),
        regions=[r for s in counted for r in pixels.regions.get(s.key, [])],
        images=[_figures(s, scores[s.key], pixels.regions.get(s.key)) for s in counted],
        left_out=[asdict(p) for p in [*problems, *pixels.problems]],
        seg_f1=pooled_f1([scores[s.key].overlap for s in counted]),
        **named,
    )


def require_counted(results: Sequence[CategoryResult]) -> None:
    """Raises `SteerAnomalyError` when no image at all was counted: figures of nothing must not look like figures."""
    if any(result.images for result in results):
        return
    names = ", ".join(result.category for result in results) or "no category"
    reasons = [entry["reason"] for result in results for entry in result.left_out]
    raise SteerAnomalyError(
        f"no image was counted ({names}), so there are no figures: "
        f"{reasons[0] if reasons else 'there are no test images'}"
    )


def pooled_f1(overlaps: list[Overlap | None]) -> float | None:
    """F1 of the thresholded maps, pixels of all images pooled; None when a threshold or a mask is missing."""
    known = [overlap for overlap in overlaps if overlap is not None]
    if not known or len(known) < len(overlaps):
        return None
    total = [sum(values) for values in zip(*map(astuple, known), strict=True)]
    return SegF1.from_state({"counts": np.array(total, np.int64)}).compute()["seg_f1"]


def score_pixels(
    samples: list[Sample],
    read: Callable[[Sample], np.ndarray],
    processes: Processes,
    limits: tuple[float, ...],
    calpro_size: int | None = None,
) -> Pixels:
    """Pixel metrics over all samples, each process counting its share."""
    if any(s.defective is None for s in samples):
        return Pixels(None, "the labels of this test set are secret", {}, {}, [])
    if any(s.defective and not s.masks for s in samples):
        return Pixels(None, "there are no masks, only image labels", {}, {}, [])
    metrics, problems = _count(Pairs(processes.share(samples), read), limits)
    total = PixelMetrics(limits, resolution=RESOLUTION)
    for state in processes.gather(metrics.state()):
        total.merge(PixelMetrics.from_state(state, limits, resolution=RESOLUTION))
    result = total.compute()
    problems = [p for part in processes.gather(problems) for p in part]
    broken = {p.file for p in problems}
    sound = [s for s in samples if str(s.image) not in broken]
    found = processes.gather(_regions(Pairs(processes.share(sound), read), result, limits[0]))
    regions = {key: value for part in found for key, value in part.items()}
    protocols = {}
    if calpro_size is not None:
        protocols["calpro200"] = _calpro(Pairs(sound, read), calpro_size, 0.3, processes)
    return Pixels(result, "", regions, protocols, problems)


@dataclass(frozen=True)
class Pairs:
    """(map, mask) of every sample, read anew each time it is gone through: memory holds one pair."""

    samples: list[Sample]
    read: Callable[[Sample], np.ndarray]

    def of(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        """The map of a sample, and its mask at the same size. Raises `SteerAnomalyError` for unusable files."""
        score_map = self.read(sample)
        return score_map, read_mask(sample, (score_map.shape[0], score_map.shape[1]))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        return map(self.of, self.samples)


def _count(pairs: Pairs, limits: tuple[float, ...]) -> tuple[PixelMetrics, list[Problem]]:
    metrics, problems = PixelMetrics(limits, resolution=RESOLUTION), []
    for sample in pairs.samples:
        try:
            metrics.update(*pairs.of(sample))
        except SteerAnomalyError as error:
            problems.append(Problem(str(sample.image), str(error)))
    return metrics, problems


def _regions(pairs: Pairs, result: MetricResult, limit: float) -> dict[str, list[list[float]]]:
    if result["pro"] is None or result.curves is None:
        return {}
    found = {}
    for sample in (s for s in pairs.samples if s.defective):
        score_map, mask = pairs.of(sample)
        assert mask is not None
        found[sample.key] = region_scores(score_map, mask, result.curves, limit)
    return found


def _calpro(pairs: Pairs, size: int, limit: float, processes: Processes) -> dict[str, Any]:
    """Thresholds hang on all maps, so process 0 goes through them alone, twice."""
    entry: dict[str, Any] = {"value": None, "why_not": "there are no images", "provenance": None}
    if processes.leads and pairs.samples:
        try:
            result = calpro200(pairs, (size, size), limit)
            (name,) = result
            why_not = result.undefined.get(name)
            entry = {"value": result[name], "why_not": why_not, "provenance": asdict(result.provenance[name])}
        except SteerAnomalyError as error:  # an infinite score has no equal-width thresholds
            entry["why_not"] = str(error)
    return processes.gather(entry)[0]


def _image_result(samples: list[Sample], scores: Mapping[str, ImageScore]) -> MetricResult | None:
    if not samples or any(s.defective is None for s in samples):
        return None
    metrics = ImageMetrics()
    for sample in samples:
        metrics.update(scores[sample.key].score, bool(sample.defective))
    return metrics.compute()


def _figures(sample: Sample, known: ImageScore, regions: list[list[float]] | None) -> ImageFigures:
    return ImageFigures(
        sample.key, str(sample.image), sample.defective, known.score, known.milliseconds, image_pro(regions)
    )
