"""Rendered scenes (`steervit.nano.scenes`): drawn when they are asked for, or read from shards."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from steervit.files import write_whole
from steervit.nano import scenes
from steervit.training.data.index import Row, default_folder, open_records
from steervit.training.data.records import Record, Records
from steervit.training.data.workers import run_all
from steervit.training.masks.run_length import MaskError, encode

FIRST_SEVERAL_SEED = 1 << 30  # of scenes with several defects; others are numbered from 0
FIRST_PATCHED_SEED = 3 << 29  # of pictures with areas exchanged
FIRST_SHINY_SEED = 1 << 28  # of glass and bare metal, added to the above
FIRST_VALIDATION_SEED = 1 << 31  # training scenes are never as many
MOST_VALIDATION = 500  # scenes
PER_SHARD = 100  # scenes drawn by one process at a time, and lost when it is interrupted


def read(
    root: Path | None = None,
    split: str = "train",
    *,
    size: int = 256,
    scenes: int = 20_000,
    sentences_per_scene: int = 4,
    photos: Path | None = None,
    several: bool = False,
    good: bool = False,
    patched: bool = False,
    shiny: bool = False,
    stored: bool = False,
    processes: int = 1,
    index: Path | None = None,
) -> Sequence[Record]:
    """Scenes drawn on the fly, `size` pixels square (64 or more), each with its first `sentences_per_scene`
    sentences; or, with `stored`, drawn once by `processes` processes and kept in the index folder; or, with
    `root`, those of the shards in `root/<split>` or `root`.

    Drawing takes some 0.1 s per scene, so `stored` pays from the second use on. `photos` is a folder of
    photographs that materials may be cut from. With `several`, every scene has two to four defects, with
    `good` none: its scenes are twins of the others, number by number; with `patched`, areas of good pictures are
    exchanged (`steervit.nano.scenes.patched`); with `shiny`, which goes with any of these but the last, glass and
    bare metal are drawn (`steervit.nano.scenes.shiny`). Validation
    scenes are never training's, and a tenth as many (at most 500). A sentence may name what is not there; its
    mask is empty. Raises FileNotFoundError without shards, ValueError for another split.
    """
    drawing = Drawing(size, photos, several, good, patched, shiny)
    if root is None and not stored:
        return RenderedScenes(*_numbers(split, scenes, drawing), sentences_per_scene, drawing)
    index = index or default_folder()
    found = shards(root, split, drawing, scenes=scenes, processes=processes, index=index)
    return _records(found, split, sentences_per_scene, index)


@dataclass(frozen=True)
class Drawing:
    """How scenes are drawn: their side in pixels, photographs to cut materials from, several defects in each, or
    none, or areas exchanged; glass and bare metal alone. Raises ValueError for two of several, good and patched at
    once, and for patched with shiny."""

    size: int
    photos: Path | None = None
    several: bool = False
    good: bool = False
    patched: bool = False
    shiny: bool = False

    def __post_init__(self) -> None:
        if self.several + self.good + self.patched > 1 or (self.patched and self.shiny):
            raise ValueError(
                "expected at most one of several, good and patched, and shiny not with patched: make it sources "
                "of their own"
            )

    @property
    def first_seed(self) -> int:
        """The seed of the first scene for training."""
        kind = FIRST_SEVERAL_SEED * self.several + FIRST_PATCHED_SEED * self.patched
        return kind + FIRST_SHINY_SEED * self.shiny

    def scene(self, random: np.random.Generator) -> Any:
        """The next scene of `random`."""
        from steervit.nano.scenes.patched import patched_scene
        from steervit.nano.scenes.scene import render_scene

        photos = _photos(self.photos)
        if self.patched:
            return patched_scene(random, self.size, photos)
        kinds: list[str] | None = [] if self.good else None
        return render_scene(random, self.size, photos, kinds, self.several, self.shiny)


def shards(
    root: Path | None, split: str, drawing: Drawing, *, scenes: int, processes: int, index: Path
) -> list[Path]:
    """The shards that `read` takes its records from; those that are missing are drawn first."""
    if root is not None:
        return _shards_in(root / split if (root / split).is_dir() else root)
    return _drawn_once(*_numbers(split, scenes, drawing), drawing, processes, index)


def _numbers(split: str, scenes: int, drawing: Drawing) -> tuple[int, int]:
    """The first scene of a split, and how many there are."""
    if split not in ("train", "validation"):
        raise ValueError(f"expected the split train or validation of rendered scenes, got {split!r}")
    if split == "train":
        return drawing.first_seed, scenes
    return FIRST_VALIDATION_SEED, min(max(scenes // 10, 1), MOST_VALIDATION)


@dataclass(frozen=True)
class RenderedScenes(Sequence[Record]):
    """Records of scenes number `first` to `first + scenes - 1`; nothing is drawn before it is loaded."""

    first: int
    scenes: int
    sentences_per_scene: int
    drawing: Drawing

    def __len__(self) -> int:
        return self.scenes * self.sentences_per_scene

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        scene, turn = divmod(index % len(self), self.sentences_per_scene)
        drawn = DrawnSentence(self.first + scene, turn, self.drawing)
        return Record(drawn, drawn.text, drawn, "rendered", str(drawn.seed))


@dataclass(frozen=True)
class DrawnSentence:
    """A scene with one of its sentences: both the picture and the mask of a record."""

    seed: int
    turn: int
    drawing: Drawing

    @cached_property
    def _drawn(self) -> tuple[np.ndarray, str, np.ndarray]:
        from steervit.nano.scenes.sentences import sentences
        from steervit.nano.scenes.shards import choose

        random = np.random.default_rng(self.seed)
        scene = self.drawing.scene(random)
        listed = choose(sentences(scene, random), random)  # as the shards hold them
        chosen = listed[self.turn % len(listed)]
        return scene.image, chosen.text, chosen.mask

    @property
    def text(self) -> str:
        """The sentence."""
        return self._drawn[1]

    def load(self) -> np.ndarray:
        """RGB uint8 size x size x 3."""
        return self._drawn[0]

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        """The mask of what the sentence names, bool size x size."""
        size = self.drawing.size
        if tuple(size_hw) != (size, size):
            raise MaskError(f"a scene of {size} pixels has no mask of {size_hw}")
        return self._drawn[2]

    def pack(self) -> bytes:
        """Scenes are drawn again rather than kept."""
        raise MaskError("a scene that is drawn on the fly is not packed")


@functools.cache
def _photos(folder: Path | None) -> Any:
    from steervit.nano.scenes.photos import PhotoSource

    return None if folder is None else PhotoSource(folder)


@dataclass(frozen=True)
class _DrawShard:
    """Draws one shard, in any process."""

    folder: Path
    drawing: Drawing

    def __call__(self, numbers: tuple[int, int]) -> None:
        from steervit.nano.scenes.shards import render_shards

        drawing = self.drawing
        render_shards(self.folder, *numbers, drawing.size, numbers[1], drawing.scene)


def _drawn_once(first: int, scenes: int, drawing: Drawing, processes: int, index: Path) -> list[Path]:
    wanted = [
        first,
        drawing.size,
        str(drawing.photos),
        drawing.several,
        drawing.good,
        drawing.patched,
        drawing.shiny,
        PER_SHARD,
        _renderer_hash(),
    ]
    folder = index / "drawn" / hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(first, first + scenes, PER_SHARD)
    jobs = [(start, min(PER_SHARD, first + scenes - start)) for start in starts]
    paths = {job: folder / f"scenes-{job[0]:08d}-{sum(job):08d}-{drawing.size}.npz" for job in jobs}
    with FileLock(folder / "lock"):  # of several processes one draws, the others wait
        missing = [job for job in jobs if not paths[job].exists()]
        title = f"drawing {sum(count for _, count in missing):,} scenes"
        run_all(_DrawShard(folder, drawing), missing, processes, title)
    return list(paths.values())


@functools.cache
def _renderer_hash() -> str:
    """A hash of the renderer's code and words: another renderer's scenes are not taken for its own."""
    folder = Path(str(scenes.__file__)).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".py", ".yaml"):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _shards_in(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise FileNotFoundError(f"expected rendered shards (*.npz) in {folder}")
    return found


def _records(found: Sequence[Path], split: str, sentences: int, index: Path) -> Records:
    unpacked = {shard: index / "rendered" / shard_hash(shard) for shard in found}
    settings = {"split": split, "index": str(index), "sentences": sentences}
    return open_records("rendered", lambda: _rows(unpacked, sentences), _path, found, settings, index)


def _rows(unpacked: dict[Path, Path], sentences: int) -> Iterator[Row]:
    # Single scenes are read in any order, which a shard cannot do: its images become files once.
    from steervit.nano.scenes.shards import read_shard

    for shard, folder in unpacked.items():
        folder.mkdir(parents=True, exist_ok=True)
        for scene in read_shard(shard):
            file = folder / f"{scene.seed}.png"
            _write_png(file, scene.image)
            for sentence in scene.sentences[:sentences]:
                yield Row(str(file), str(scene.seed), sentence.text, encode(sentence.mask), "rendered")


def _path(key: str) -> Iterable[Path]:
    return (Path(key),)


def _write_png(file: Path, image: np.ndarray) -> None:
    from PIL import Image

    if not file.exists():
        write_whole(file, lambda to: Image.fromarray(image).save(to, format="PNG", compress_level=1))


def shard_hash(shard: Path) -> str:
    """Sixteen hex digits for this very file: where it lies, how long it is and when it was written."""
    seen = f"{shard.resolve()} {shard.stat().st_size} {shard.stat().st_mtime_ns}"
    return hashlib.sha256(seen.encode()).hexdigest()[:16]
