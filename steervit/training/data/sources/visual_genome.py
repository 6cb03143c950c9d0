"""Visual Genome: phrases for boxes. Masks come from SAM 2 (`training.masks.segment_anything`), or the box is the mask.

Files of `root`: `region_descriptions.json`, `image_data.json` (only to leave out COCO's photographs), and the
images in `VG_100K` and `VG_100K_2`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from steervit.training.data.index import Row, open_records
from steervit.training.data.mixture import shuffled
from steervit.training.data.records import Records
from steervit.training.masks.mask_shards import MaskShards, shard_files
from steervit.training.masks.run_length import Box, Mask

REGIONS, IMAGES = "region_descriptions.json", "image_data.json"
PARTS = 1000  # an image falls into one of as many, by its number


def read(
    root: Path,
    split: str = "train",
    *,
    images: Path | None = None,
    masks: Path | None = None,
    min_quality: float = 0.0,
    validation_share: float = 0.01,
    without_coco: bool = False,
    index: Path | None = None,
) -> Records:
    """A record per phrase. Visual Genome has no splits: `validation_share` of the images, chosen by their
    number, is for validation.

    `images` holds VG_100K and VG_100K_2, by default `root`. `masks` is a folder that `steer-anomaly train
    masks` wrote: regions without a mask there, or whose quality (SAM 2's own estimate of the IoU, 0..1) is below
    `min_quality`, are left out and counted. `without_coco` leaves out photographs that COCO has too.
    Raises FileNotFoundError, ValueError.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"expected the split train or validation of Visual Genome, got {split!r}")
    files = [root / REGIONS, *([root / IMAGES] if without_coco else [])]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"Visual Genome needs {file}")
    settings = {"split": split, "masks": str(masks), "min_quality": min_quality,
                "validation_share": validation_share, "without_coco": without_coco}  # fmt: skip

    def rows() -> Iterator[Row]:
        left_out = _in_coco(root / IMAGES) if without_coco else set()
        made = MaskShards(masks) if masks else None
        for region in regions(root / REGIONS):
            number = region["image_id"]
            if number in left_out or _for_validation(number, validation_share) != (split == "validation"):
                continue
            if text := region["phrase"].strip():
                mask = _mask(region, made, min_quality)
                yield Row(str(number), str(number), text, mask, "visual_genome")

    seen = [*files, *(shard_files(masks) if masks else [])]
    return open_records("visual_genome", rows, find_in(images or root), seen, settings, index)


def regions(file: Path) -> Iterator[dict[str, Any]]:
    """Every region: region_id, image_id, phrase, x, y, width, height (pixels). Raises ValueError."""
    try:
        for image in json.loads(file.read_bytes()):
            for region in image["regions"]:
                region.setdefault("image_id", image.get("id", image.get("image_id")))
                yield {key: region[key] for key in KEYS}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is no region file of Visual Genome ({error!r}): fetch it again") from error


KEYS = ("region_id", "image_id", "phrase", "x", "y", "width", "height")


class find_in:
    """Where the image of a number may lie below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, number: str) -> Iterable[Path]:
        return (self.root / folder / f"{number}.jpg" for folder in ("VG_100K", "VG_100K_2"))


def _mask(region: dict[str, Any], made: MaskShards | None, min_quality: float) -> Mask | None:
    if made is not None:
        return made.get(region["region_id"], min_quality)
    return Box(region["x"], region["y"], region["width"], region["height"])


def _for_validation(image: int, share: float) -> bool:
    lap, place = divmod(int(image), PARTS)
    return shuffled(place, PARTS, lap) < share * PARTS


def _in_coco(file: Path) -> set[int]:
    try:
        return {
            image["image_id"] for image in json.loads(file.read_bytes()) if image.get("coco_id") is not None
        }
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is no image list of Visual Genome ({error!r}): fetch it again") from error
