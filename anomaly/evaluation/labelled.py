"""What an evaluation is about: the test images of one category, and what became of each. Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anomaly.testsets.samples import Sample


@dataclass(frozen=True)
class TestImages:
    """The test images of one category, what the part is called, and what a reader should know of them.

    `pool` are good images outside the test set, `references` those good images that the test images are compared
    with, none of them among `samples`.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    name: str
    object: str
    samples: list[Sample]
    group: str | None = None
    note: str | None = None
    pool: tuple[Path, ...] = ()
    references: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Problem:
    """An image that was left out, and why. `file` is the image's path."""

    file: str
    reason: str


@dataclass(frozen=True)
class Overlap:
    """Pixels of an inspection's mask against the true one: found, false and missed. SegF1 adds these up."""

    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class ImageScore:
    """What is known of one test image beside its map; `overlap` where both masks are known."""

    score: float
    milliseconds: float | None = None
    overlap: Overlap | None = None


@dataclass(frozen=True)
class InspectedImage:
    """A line of an evaluation's journal. `stamp` is size and time of change of the image and of its masks.

    `set` is the hash of the images or references it was compared with, None when it was judged alone.
    """

    key: str
    object: str
    stamp: tuple[int, ...]
    score: float
    milliseconds: float
    overlap: Overlap | None = None
    set: str | None = None

    def to_line(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> InspectedImage:
        """The image of a line that `to_line` gave."""
        overlap = line["overlap"] and Overlap(**line["overlap"])
        return cls(**{**line, "stamp": tuple(line["stamp"]), "overlap": overlap})

    @property
    def known(self) -> ImageScore:
        """What the figures are computed from."""
        return ImageScore(self.score, self.milliseconds, self.overlap)


@dataclass(frozen=True)
class ImageFigures:
    """One image of a result: `pro` is the mean PRO of its regions, None where it has none."""

    key: str
    file: str
    defective: bool | None
    score: float
    milliseconds: float | None
    pro: float | None


def safe_name(category: str) -> str:
    """The category as part of a file name."""
    return category.replace("/", "_")
