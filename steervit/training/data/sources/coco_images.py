"""Where an image of COCO lies: the same photographs were published under the names of 2014 and of 2017."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDERS_2017 = ("train2017", "val2017")
FOLDERS_2014 = ("train2014", "val2014")


class CocoImages:
    """Finds images below `root`, which holds train2014 and val2014, train2017 and val2017, or the images themselves.

    An image has the same number in both; 2017 only divided them otherwise.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str) -> Iterable[Path]:
        """Places where an image named `COCO_train2014_000000000009`, or `000000000009`, may be; likeliest first."""
        stem = Path(name).stem
        number = stem.rsplit("_", 1)[-1]
        yield from self._places(stem, number)

    def _places(self, stem: str, number: str) -> Iterator[Path]:
        if stem.startswith("COCO_"):
            yield self.root / stem.split("_")[1] / f"{stem}.jpg"
            yield self.root / f"{stem}.jpg"
        yield from (self.root / folder / f"{number}.jpg" for folder in FOLDERS_2017)
        yield self.root / f"{number}.jpg"
        if not stem.startswith("COCO_"):
            yield from (self.root / folder / f"COCO_{folder}_{number}.jpg" for folder in FOLDERS_2014)
