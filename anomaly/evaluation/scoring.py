"""From the maps of one category to its figures. Does not care who made the maps, nor where the result goes.

Several processes each count their share; counts are integers, so their sum has the same bits for any split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.category import Problem, TestImages
from anomaly.evaluation.category_figures import named_figures, thinned_curves
from anomaly.evaluation.region_scores import image_pro, region_scores
from anomaly.metrics import ImageMetrics, MetricResult, PixelMetrics
from anomaly.metrics.calpro import calpro200
from anomaly.metrics.segmentation import SegF1
from steervit.processes import Processes
from anomaly.testsets.samples import Sample, read_mask

RESOLUTION = "each image's own size"


@dataclass(frozen=True)
class CategoryResult:
    """The figures of one category, fractions or None with the reason in `undefined`.

    `metrics` holds `anomaly.testsets.cards.METRICS`, and PRO at other limits as `pro@0.05`. `protocols` holds the same
    maps under other definitions of PRO. `seg_f1` is the pixel F1 at the model's own threshold. `images` has
    one row per test image (key, file, defective, score, milliseconds, pro), `regions` one [area in px, PRO of
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
    images: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON-able values."""
        return asdict(self)


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
    rows: Mapping[str, Mapping[str, Any]],
    problems: list[Problem],
    processes: Processes,
    limits: tuple[float, ...] = (0.3,),
    calpro_size: int | None = None,
) -> CategoryResult:
    """Computes everything about one category from its maps.

    `read(sample)` returns a map H x W at the image's own size; `rows` gives each image's `score` by key, and
    images without a row are not counted. `limits` are the false-positive rates PRO is integrated up to, the
    first being `pro`. With `calpro_size` the maps are also scored as `calpro200` does, at that many pixels
    squared, under `protocols`. All processes must call this together; all get the same result.
    """
    samples = [s for s in images.samples if s.key in rows]
    pixels = score_pixels(samples, read, processes, limits, calpro_size)
    broken = {p.file for p in pixels.problems}
    counted = [s for s in samples if str(s.image) not in broken]
    image_result = _image_result(counted, rows)
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
        images=[_image_row(s, rows[s.key], pixels.regions.get(s.key)) for s in counted],
        left_out=[asdict(p) for p in [*problems, *pixels.problems]],
        seg_f1=_seg_f1([rows[s.key] for s in counted]),
        **named,
    )


def _seg_f1(rows: list[Mapping[str, Any]]) -> float | None:
    """F1 of the thresholded maps, pixels of all images pooled; None when a threshold or a mask is missing."""
    if not rows or any("counts" not in row for row in rows):
        return None
    total = [sum(row["counts"][name] for row in rows) for name in ("tp", "fp", "fn")]
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
    mine = processes.share(samples)
    metrics, problems = _count(mine, read, limits)
    total = PixelMetrics(limits, resolution=RESOLUTION)
    for state in processes.gather(metrics.state()):
        total.merge(PixelMetrics.from_state(state, limits, resolution=RESOLUTION))
    result = total.compute()
    problems = [p for part in processes.gather(problems) for p in part]
    broken = {p.file for p in problems}
    sound = [s for s in samples if str(s.image) not in broken]
    regions = _regions(processes.share(sound), read, result, limits[0], processes)
    protocols = {}
    if calpro_size is not None:
        protocols["calpro200"] = _calpro(sound, read, calpro_size, 0.3, processes)
    return Pixels(result, "", regions, protocols, problems)


def _count(
    samples: list[Sample], read: Callable[[Sample], np.ndarray], limits: tuple[float, ...]
) -> tuple[PixelMetrics, list[Problem]]:
    metrics, problems = PixelMetrics(limits, resolution=RESOLUTION), []
    for sample in samples:
        try:
            score_map = read(sample)
            metrics.update(score_map, read_mask(sample, score_map.shape))
        except SteerAnomalyError as error:
            problems.append(Problem(str(sample.image), str(error)))
    return metrics, problems


def _regions(
    samples: list[Sample],
    read: Callable[[Sample], np.ndarray],
    result: MetricResult,
    limit: float,
    processes: Processes,
) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    if result["pro"] is not None and result.curves is not None:
        for sample in (s for s in samples if s.defective):
            score_map = read(sample)
            mask = read_mask(sample, score_map.shape)
            assert mask is not None
            found[sample.key] = region_scores(score_map, mask, result.curves, limit)
    return {key: value for part in processes.gather(found) for key, value in part.items()}


@dataclass(frozen=True)
class _Pairs:
    """(map, mask) of every sample, read anew each time it is gone through: memory holds one pair."""

    samples: list[Sample]
    read: Callable[[Sample], np.ndarray]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for sample in self.samples:
            score_map = self.read(sample)
            yield score_map, read_mask(sample, score_map.shape)


def _calpro(
    samples: list[Sample], read: Callable[[Sample], np.ndarray], size: int, limit: float, processes: Processes
) -> dict[str, Any]:
    """Thresholds hang on all maps, so process 0 goes through them alone, twice."""
    entry: dict[str, Any] = {"value": None, "why_not": "there are no images", "provenance": None}
    if processes.leads and samples:
        try:
            result = calpro200(_Pairs(samples, read), (size, size), limit)
            (name,) = result
            why_not = result.undefined.get(name)
            entry = {"value": result[name], "why_not": why_not, "provenance": asdict(result.provenance[name])}
        except SteerAnomalyError as error:  # an infinite score has no equal-width thresholds
            entry["why_not"] = str(error)
    return processes.gather(entry)[0]


def _image_result(samples: list[Sample], rows: Mapping[str, Mapping[str, Any]]) -> MetricResult | None:
    if not samples or any(s.defective is None for s in samples):
        return None
    metrics = ImageMetrics()
    for sample in samples:
        metrics.update(rows[sample.key]["score"], bool(sample.defective))
    return metrics.compute()


def _image_row(sample: Sample, row: Mapping[str, Any], regions: list[list[float]] | None) -> dict[str, Any]:
    return {
        "key": sample.key,
        "file": str(sample.image),
        "defective": sample.defective,
        "score": row["score"],
        "milliseconds": row.get("milliseconds"),
        "pro": image_pro(regions),
    }
