"""CORE: find another picture with the same small object in the same kind of scene (paper section 4).

Reads the parquet files of the data set `JonaRuthardt/CORE` as they are; pictures stay on disk. Knows nothing of how
features are made.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.steerability.picture import Picture, image_of_bytes
from anomaly.steerability.ranking import precision_at
from anomaly.steerability.steered import Steered

COLUMNS = ("image", "image_id", "scene", "object", "prompt")
SEED = 0


@dataclass(frozen=True)
class Row:
    """One picture. Those of one `image_id` are variants of one source and never count as found."""

    picture: Picture
    image_id: str
    scene: str
    object: str
    prompt: str


def load(root: Path) -> list[Row]:
    """The test split: `test*.parquet` in `root` or its folder `data`.

    Raises `SteerAnomalyError` when there is none, when a column is missing, and for an object of two prompts.
    """
    files = sorted(root.glob("test*.parquet")) or sorted((root / "data").glob("test*.parquet"))
    if not files:
        raise SteerAnomalyError(
            f"expected CORE's test*.parquet in {root} or {root / 'data'}, found none: download the data set "
            "JonaRuthardt/CORE from the hub"
        )
    rows = [row for path in files for row in _rows(path)]
    prompts_by_object(rows)
    return rows


def prompts_by_object(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """(scene, object) -> its prompt, sorted. Raises `SteerAnomalyError` where an object has two."""
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        if found.setdefault((row.scene, row.object), row.prompt) != row.prompt:
            raise SteerAnomalyError(
                f"expected one prompt for {row.object} in {row.scene}, got {found[row.scene, row.object]!r} and "
                f"{row.prompt!r}"
            )
    return dict(sorted(found.items()))


def random_prompts(prompts: dict[tuple[str, str], str], seed: int = SEED) -> dict[tuple[str, str], str]:
    """Each object with the prompt of another object of its scene: the paper's ablation with wrong prompts.

    How the paper draws them is not published; here by a seeded draw. Raises `SteerAnomalyError` for a scene in which
    every object has the same prompt.
    """
    draw = random.Random(seed)
    wrong = {}
    for (scene, name), own in prompts.items():
        others = sorted({text for (place, _), text in prompts.items() if place == scene and text != own})
        if not others:
            raise SteerAnomalyError(
                f"expected a second prompt in the scene {scene}, every object has {own!r}"
            )
        wrong[scene, name] = draw.choice(others)
    return wrong


def evaluate(
    rows: Sequence[Row],
    steered: Steered,
    prompts: dict[tuple[str, str], str] | None,
    k: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Precision at `k` as the official script writes it: {"global": ..., "per_scene": {scene: {object: ...}}}.

    All pictures of a scene are encoded with the prompt of one object; its own pictures are the queries. `prompts` None
    encodes without text. Queries without a positive are left out; the global figure is the mean over queries.
    Raises `SteerAnomalyError` when no query is left.
    """
    every: list[float] = []
    per_scene: dict[str, dict[str, Any]] = {}
    for scene, name in prompts_by_object(rows):
        here = [row for row in rows if row.scene == scene]
        prompt = prompts[scene, name] if prompts is not None else None
        features = steered.features([row.picture for row in here], prompt)
        found = _precisions(here, features, name, k)
        of_scene = per_scene.setdefault(scene, {})
        if found:
            mean = float(np.mean(found))
            of_scene[name] = {f"precision@{k}": mean, "n_queries": len(found), "prompt": prompt}
            progress(f"{scene}/{name}: precision@{k} {mean:.4f} ({len(found)} queries)")
        every += found
    if not every:
        raise SteerAnomalyError(
            "expected objects with pictures of two sources, found none: nothing can be measured"
        )
    total = {f"precision@{k}": float(np.mean(every)), "n_queries": len(every)}
    return {"global": total, "per_scene": per_scene}


def problems(root: Path) -> list[str]:
    """What is wrong with the data set in `root`, a sentence each: layout, prompts, counts, damaged pictures."""
    try:
        rows = load(root)
    except SteerAnomalyError as error:
        return [str(error)]
    found = gaps(rows)
    for row in rows:
        try:
            row.picture.read()
        except SteerAnomalyError as error:
            found.append(str(error))
    return found


def gaps(rows: Sequence[Row]) -> list[str]:
    """How this differs in size from the published benchmark, a sentence each; none for the whole of it."""
    found = [
        f"expected 500 pictures in the scene {scene}, found {count}"
        for scene, count in Counter(row.scene for row in rows).items()
        if count != 500
    ]
    if (scenes := len({row.scene for row in rows})) != 6:
        found.append(f"expected 6 scenes, found {scenes}")
    return found


def _precisions(rows: Sequence[Row], features: np.ndarray, name: str, k: int) -> list[float]:
    ids = np.array([row.image_id for row in rows])
    same = np.array([row.object == name for row in rows])
    found = []
    for query in np.flatnonzero(same):
        variants = ids == ids[query]
        relevant = same & ~variants
        if relevant.any():
            similarity = np.where(variants, -np.inf, features @ features[query])
            found.append(precision_at(similarity, relevant, k))
    return found


class _Pictures:
    """The column `image` of one parquet file, of which one group of rows is in memory at a time."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name
        self._group = -1
        self._entries: list[Any] = []
        self._reading = Lock()

    def bytes_of(self, group: int, row: int) -> bytes:
        """The image file in one row of one group. Raises `SteerAnomalyError` for what is none."""
        with self._reading:
            if group != self._group:
                self._entries = self._file.read_row_group(group, columns=["image"])["image"].to_pylist()
                self._group = group
            image = self._entries[row]
        data = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(data, bytes):
            raise SteerAnomalyError(
                f"{self._name}, group {group}, row {row}: expected the bytes of a picture in the column image, got "
                f"{type(data)}"
            )
        return data

    def picture(self, group: int, row: int) -> Picture:
        """The picture of a row, read again whenever it is asked for."""
        where = f"{self._name}, group {group}, row {row}"
        key = hashlib.sha256(self.bytes_of(group, row)).hexdigest()
        return Picture(key, lambda: image_of_bytes(self.bytes_of(group, row), where))


def _rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(path)
    if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
        raise SteerAnomalyError(
            f"{path}: expected the columns {', '.join(COLUMNS)}, no {missing[0]} is there"
        )
    pictures = _Pictures(file, path.name)
    for group in range(file.num_row_groups):
        entries = file.read_row_group(group, columns=list(COLUMNS[1:])).to_pylist()
        for row, entry in enumerate(entries):
            yield Row(pictures.picture(group, row), *(str(entry[name]) for name in COLUMNS[1:]))
