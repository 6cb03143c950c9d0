"""Masks from boxes by SAM 2 (*SAM 2: Segment Anything in Images and Videos*, 2024), written as parquet shards.

A shard that is there is not made again, so an interrupted run goes on; shards are shared out among processes
by number, on one machine or on many. Letters: K boxes of one image, H x W its pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steervit.training.data.sources.visual_genome import REGIONS, find_in, regions
from steervit.training.masks.mask_shards import MaskRow, readable, shard_path, write_shard
from steervit.training.masks.run_length import Box, encode


@dataclass(frozen=True)
class ImageBoxes:
    """An image, where it is (None: missing), and its regions: number and box."""

    image_id: str
    path: Path | None
    boxes: tuple[tuple[int, Box], ...]


class MaskMaker:
    """SAM 2 with its processor. `model` is a hub name or a folder; raises FileNotFoundError when it is neither."""

    def __init__(
        self, model: str, device: str = "cpu", precision: str = "fp32", boxes_at_once: int = 64
    ) -> None:
        import torch
        from transformers import Sam2Model, Sam2Processor

        try:
            self.processor: Any = Sam2Processor.from_pretrained(model)
            network: Any = Sam2Model.from_pretrained(model)
            self.model = network.to(device).eval()
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"expected the weights and the processor of SAM 2 as {model!r} ({error}): give a folder with "
                "both, or run `hf download` for it with a network"
            ) from error
        self.device, self.boxes_at_once = torch.device(device), boxes_at_once
        self.autocast = precision == "bf16"

    def __call__(self, image: np.ndarray, boxes: Sequence[Box]) -> list[tuple[np.ndarray, float]]:
        """RGB uint8 H x W x 3 and K boxes in pixels -> per box its mask, bool H x W, and its estimated IoU.

        The image is encoded once, and each box asks for one mask.
        """
        import torch

        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            inputs = self.processor(images=image, return_tensors="pt").to(self.device)
            embeddings = self.model.get_image_embeddings(inputs["pixel_values"])
            made: list[tuple[np.ndarray, float]] = []
            for start in range(0, len(boxes), self.boxes_at_once):
                some = [list(box.xyxy) for box in boxes[start : start + self.boxes_at_once]]
                made += self._ask(embeddings, inputs["original_sizes"], some)
        return made

    def _ask(
        self, embeddings: Any, sizes: Any, boxes: list[list[float]]
    ) -> Iterator[tuple[np.ndarray, float]]:
        prompts = self.processor(input_boxes=[boxes], original_sizes=sizes, return_tensors="pt").to(
            self.device
        )
        output = self.model(
            image_embeddings=embeddings, input_boxes=prompts["input_boxes"], multimask_output=False
        )
        # (1, K, 1, h, w) -> (K, 1, H, W)
        masks = self.processor.post_process_masks(output.pred_masks.float().cpu(), sizes.cpu())[0]
        qualities = output.iou_scores.float().cpu().reshape(-1).clamp(0, 1).tolist()
        return zip(masks[:, 0].numpy().astype(bool), qualities, strict=True)


def visual_genome_boxes(root: Path, images: Path | None = None) -> list[ImageBoxes]:
    """The boxes of Visual Genome's regions, by image, in the order of their numbers.

    Raises FileNotFoundError without a region file, ValueError for a damaged one.
    """
    file = root / REGIONS
    if not file.is_file():
        raise FileNotFoundError(f"expected {file}: give the folder of Visual Genome")
    boxes: dict[int, list[tuple[int, Box]]] = defaultdict(list)
    for region in regions(file):
        box = Box(region["x"], region["y"], region["width"], region["height"])
        boxes[region["image_id"]].append((region["region_id"], box))
    find = find_in(images or root)
    paths = {number: next((path for path in find(str(number)) if path.exists()), None) for number in boxes}
    return [ImageBoxes(str(number), paths[number], tuple(boxes[number])) for number in sorted(boxes)]


def shard_numbers(images: Sequence[ImageBoxes], images_per_shard: int) -> range:
    """The numbers of all shards."""
    return range(-(-len(images) // images_per_shard))


def make_masks(
    images: Sequence[ImageBoxes],
    out: Path,
    maker: Callable[[], MaskMaker],
    made_with: dict[str, str],
    images_per_shard: int = 250,
    process: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Make the shards whose number leaves the rest `process` when divided by `processes`; returns how many.

    Shards that are there already are kept, and `maker` is only called when one is not. `made_with` says how
    (model, images per shard); shards made another way raise ValueError. `progress` is told the images done.
    An image that is missing or damaged gets rows without masks that say so.
    """
    out.mkdir(parents=True, exist_ok=True)
    numbers = shard_numbers(images, images_per_shard)
    made_with = {**made_with, "images_per_shard": str(images_per_shard), "images": str(len(images))}
    ready: MaskMaker | None = None
    made = 0
    for number in numbers[process::processes]:
        part = images[number * images_per_shard : (number + 1) * images_per_shard]
        path = shard_path(out, number, len(numbers))
        if readable(path, made_with):
            progress(len(part))
            continue
        ready = ready or maker()
        rows: list[MaskRow] = []
        for image in part:
            rows += _rows_of(image, ready)
            progress(1)
        write_shard(path, rows, made_with)
        made += 1
    return made


def _rows_of(image: ImageBoxes, maker: MaskMaker) -> list[MaskRow]:
    try:
        pixels = _pixels(image)
    except ValueError as error:
        return [
            MaskRow(region, image.image_id, (box.x, box.y, box.width, box.height), error=str(error))
            for region, box in image.boxes
        ]
    made = maker(pixels, [box for _, box in image.boxes])
    return [
        _row(region, image.image_id, box, mask, quality)
        for (region, box), (mask, quality) in zip(image.boxes, made, strict=True)
    ]


def _row(region: int, image_id: str, box: Box, mask: np.ndarray, quality: float) -> MaskRow:
    height, width = mask.shape
    place = (box.x, box.y, box.width, box.height)
    if not mask.any():
        return MaskRow(region, image_id, place, height, width, error="the mask is empty")
    counts = encode(mask).counts
    assert isinstance(counts, str)
    return MaskRow(region, image_id, place, height, width, counts, int(mask.sum()), quality)


def _pixels(image: ImageBoxes) -> np.ndarray:
    from steervit.training.data.records import read_pixels

    if image.path is None:
        raise ValueError("the image is missing")
    return read_pixels(image.path)
