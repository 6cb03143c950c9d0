"""What a run keeps of each image: a line of `results.jsonl` and one of `results.csv`. Opens no file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from anomaly.inspection import Region

VERDICTS = ("defect", "ok", "unfit", "unjudged", "failed", "unreadable")
CSV_COLUMNS = (
    "file", "verdict", "score", "threshold", "p_value", "spreads", "regions", "largest_area_px", "largest_area_mm2",
    "largest_size_mm",
    "milliseconds", "object", "model", "error",
)  # fmt: skip
FAILURES = ("failed", "unreadable")  # without a score: read but not judged, and not even read


@dataclass(frozen=True)
class ImageRow:
    """One image of an inspection.

    `file` is its path as typed, `path` the absolute one, `name` where its files lie below `heatmaps/` and the
    others. `verdict` is one of `VERDICTS`; with one of `FAILURES`, `error` says why and there is no score.
    `outlines` are flat [x, y, x, y, ...] polygons in pixels of the image. `heatmap`, `mask`, `overlay` are
    paths below the result folder, None where none was kept. Where pictures were compared, `parts` is how much each
    kind of evidence says where the heatmap is highest, by name, in z-scores; where with each other, `set` is the hash
    of the set, `compared_with` the number of others and `closest` the name of the most similar one. Judged by a
    profile, `p_value` and `spreads` are as in `Inspection`, `look` is what the gate measured (see `gate.Look`), and
    `error` says why a photograph is `unfit`. `mm_per_pixel` is the picture's scale, None where it is not known.
    """

    file: str
    name: str
    path: str
    size: int | None
    mtime_ns: int | None
    object: str | None
    verdict: str
    score: float | None = None
    error: str | None = None
    width: int | None = None
    height: int | None = None
    threshold: float | None = None
    regions: tuple[Region, ...] = ()
    outlines: tuple[tuple[int, ...], ...] = ()
    milliseconds: float | None = None
    model: str | None = None
    written: str | None = None
    heatmap: str | None = None
    mask: str | None = None
    overlay: str | None = None
    parts: dict[str, float] = field(default_factory=dict)
    set: str | None = None
    compared_with: int | None = None
    closest: str | None = None
    unlike: float | None = None  # the references, as a whole, in z-scores
    p_value: float | None = None
    spreads: float | None = None
    look: dict[str, float | None] | None = None
    mm_per_pixel: float | None = None

    def to_line(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> ImageRow:
        """The row of a line that `to_line` gave; fields of later versions are passed over."""
        known = {one.name: line[one.name] for one in fields(cls) if one.name in line}
        known["regions"] = tuple(_region(entry) for entry in line.get("regions", ()))
        known["parts"] = dict(line["parts"]) if isinstance(line.get("parts"), Mapping) else {}
        known["outlines"] = tuple(map(tuple, line.get("outlines", ())))
        return cls(**known)


def to_csv(rows: Iterable[ImageRow]) -> bytes:
    """Rows of an inspection as a table of `CSV_COLUMNS`; `regions` is their number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        counted = _counted(row)
        writer.writerow([counted.get(column, getattr(row, column, None)) for column in CSV_COLUMNS])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _counted(row: ImageRow) -> dict[str, float]:
    """Number and sizes of the regions, in millimetres too where the picture's scale is known."""
    largest: dict[str, float] = {"largest_area_px": max((region.area for region in row.regions), default=0)}
    if row.mm_per_pixel is not None:
        longest = max((region.longer_side for region in row.regions), default=0)
        largest["largest_area_mm2"] = float(f"{largest['largest_area_px'] * row.mm_per_pixel**2:.6g}")
        largest["largest_size_mm"] = float(f"{longest * row.mm_per_pixel:.6g}")
    return {"regions": len(row.regions)} | largest


def _region(entry: Mapping[str, Any]) -> Region:
    box, centroid = tuple(entry["box_xyxy"]), tuple(entry["centroid_xy"])
    return Region(entry["area"], box, centroid, entry["peak"])
