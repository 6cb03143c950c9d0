"""Judges a finished run again from what it kept: scores, maps and what the gate measured. No model, no inference.

Only masks and overlays that change are written again. Whatever stops it, the journal holds whole rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.decision import profile_file
from anomaly.decision.gate import Look
from anomaly.decision.profile import Profile
from anomaly.decision.verdict import Judge
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.encode import to_jpeg, to_mask_png
from anomaly.pictures.images import ImageError, read_image
from anomaly.pictures.maps import read_map
from anomaly.pictures.overlay import ColorScale, draw_overlay, outlines
from anomaly.regions import Least
from anomaly.report.page import write_report
from anomaly.runs import claim
from anomaly.runs.journal import Journal
from anomaly.runs.rows import FAILURES, ImageRow, to_csv
from anomaly.runs.saving import OutputError, explained, save, save_json

OWN_PROFILE = "judged-by.profile"
THREADS = 4  # decoding and encoding release Python's lock


@dataclass(frozen=True)
class Judged:
    """`rows` in the order of the run; how many verdicts `changed`, and how many outlines could not be drawn.

    These are of images whose heatmap was not kept.
    """

    rows: tuple[ImageRow, ...]
    changed: int
    undrawn: int


class FinishedRun:
    """The result folder of an earlier run, for judging it again; use it in a `with` statement.

    Raises `OutputError` when there is no run in it, or another process writes to it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        found = claim.read_run(out) if out.is_dir() else None
        if found is None or not (out / "results.jsonl").is_file():
            raise OutputError(f"expected a folder that `steer-anomaly inspect` wrote, {out} is none")
        self.run: dict[str, Any] = found
        self._journal = Journal(out / "results.jsonl", "path")
        self.rows = [ImageRow.from_line(line) for line in self._journal.lines.values()]

    def __enter__(self) -> FinishedRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    @property
    def settings(self) -> dict[str, Any]:
        """What `Inspector.describe` said when the run was made."""
        return self.run.get("settings") or {}

    def judge(self, judge: Judge, tick: Callable[[], object] = lambda: None) -> Judged:
        """The rows as `judge` sees them, with masks and overlays that differ written again."""
        before = self.settings.get("mask_threshold"), Least.from_dict(self.settings)
        same = judge.point is not None and before == (judge.point.mask_threshold, judge.least)
        scale = ColorScale(**self.run["color_scale"]) if self.run.get("color_scale") else None
        with explained("masks and overlays", self.out, None), ThreadPoolExecutor(THREADS) as pool:
            rows = []
            for row in pool.map(lambda row: _again(self.out, row, judge, same, scale), self.rows):
                rows.append(row)
                tick()
        pairs = list(zip(self.rows, rows, strict=True))
        changed = sum(old.verdict != new.verdict for old, new in pairs)
        undrawn = sum(new.verdict == "defect" and not _has_map(self.out, new) for new in rows)
        return Judged(tuple(rows), changed, undrawn)

    def write(self, rows: tuple[ImageRow, ...], changes: dict[str, Any]) -> None:
        """Keep the rows and `changes` of `run.json`, and write table and report again. Raises `OutputError`."""
        counts: dict[str, int] = dict.fromkeys(self.run.get("counts", {}), 0)
        for row in rows:
            counts[row.verdict] = counts.get(row.verdict, 0) + 1
        self.run |= changes | {"counts": counts}
        with explained("results.csv and report.html", self.out, None):
            self._journal.lines = {row.path: row.to_line() for row in rows}
            self._journal.compact()
            save(self.out / "results.csv", to_csv(rows))
            save_json(self.out / "run.json", self.run)
            write_report(self.out, self.run, list(rows), again=True)


def look_of(row: ImageRow) -> Look | None:
    """What the gate measured on an image; None where nothing was."""
    return Look(**row.look) if row.look else None  # type: ignore[arg-type]


def _again(out: Path, row: ImageRow, judge: Judge, same: bool, scale: ColorScale | None) -> ImageRow:
    """The row with its new verdict. `same`: outlines of what is and was a defect stay as they are."""
    score = row.score
    if score is None or row.verdict in FAILURES:
        return row
    assert judge.point is not None
    unfit = judge.unfit(look_of(row))
    p_value, spreads = judge.standing(score)
    row = replace(
        row, threshold=judge.point.threshold, p_value=p_value, spreads=spreads, error=" ".join(unfit) or None,
        mm_per_pixel=judge.least.mm_per_pixel,
    )  # fmt: skip
    if unfit or score < judge.point.threshold:
        return _cleared(out, row, "unfit" if unfit else "ok", scale)
    if same and row.verdict == "defect":
        return row
    return _outlined(out, row, judge, scale)


def _cleared(out: Path, row: ImageRow, verdict: str, scale: ColorScale | None) -> ImageRow:
    if not row.regions and not row.outlines:
        return replace(row, verdict=verdict)
    empty = replace(row, verdict=verdict, regions=(), outlines=())
    if _has_map(out, row):
        heatmap = read_map(out / str(row.heatmap))
        _draw(out, empty, heatmap, np.zeros(heatmap.shape, bool), scale)
    return empty


def _outlined(out: Path, row: ImageRow, judge: Judge, scale: ColorScale | None) -> ImageRow:
    if not _has_map(out, row):
        return replace(row, verdict="defect", regions=(), outlines=())
    heatmap = read_map(out / str(row.heatmap))
    mask, regions = judge.outlined(heatmap)
    polygons = tuple(map(tuple, outlines(mask)))
    new = replace(row, verdict="defect" if regions else "ok", regions=regions, outlines=polygons)
    if (polygons, regions) != (row.outlines, row.regions):
        _draw(out, new, heatmap, mask, scale)
    return new


def _draw(out: Path, row: ImageRow, heatmap: np.ndarray, mask: np.ndarray, scale: ColorScale | None) -> None:
    if row.mask:
        save(out / row.mask, to_mask_png(mask))
    photo = _photo(out, row, heatmap.shape)
    if row.overlay and photo is not None:
        scale = scale or ColorScale.from_heatmap(heatmap, row.threshold)
        boxes = [region.box_xyxy for region in row.regions]
        drawn = draw_overlay(photo, heatmap, scale, row.outlines, boxes)
        save(out / row.overlay, to_jpeg(drawn, 90))


def _photo(out: Path, row: ImageRow, size_hw: tuple[int, ...]) -> np.ndarray | None:
    """The photograph, or where it is gone or another one now, its preview at the photograph's size."""
    import cv2

    for path in _places(out, row):
        with suppress(ImageError):
            image = read_image(path)
            if image.shape[:2] != size_hw:
                image = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
            return image
    return None


def _places(out: Path, row: ImageRow) -> Iterator[Path]:
    original = Path(row.path)
    with suppress(OSError):
        status = original.stat()
        if (status.st_size, status.st_mtime_ns) == (row.size, row.mtime_ns):
            yield original
    yield out / "previews" / "photo" / f"{row.name}.jpg"


def _has_map(out: Path, row: ImageRow) -> bool:
    return row.heatmap is not None and (out / row.heatmap).is_file()


def keep_profile(out: Path, profile: Profile) -> None:
    """Keep below `out` what a run was judged by, without the arrays of its references. Raises `OutputError`."""
    with explained(OWN_PROFILE, out, None):
        profile_file.save(replace(profile, references={}), out / OWN_PROFILE)


def own_profile(out: Path) -> Profile | None:
    """What `keep_profile` kept; None for a run without a profile. Raises `ProfileError` for a damaged one."""
    path = out / OWN_PROFILE
    return profile_file.load(path) if path.is_file() else None


def check_scored_alike(settings: dict[str, Any], settings_hash: str) -> None:
    """Raise `SteerAnomalyError` unless the run was scored as a profile of these settings scores."""
    if settings.get("settings_hash") != settings_hash:
        raise SteerAnomalyError(
            "expected a run whose images were scored as the profile was calibrated, got one with other settings, "
            "references or another model: its scores mean something else. Inspect with the profile instead"
        )
