"""Miniature copies of the training sources, drawn in the files and fields in which each is published."""

from __future__ import annotations

import io
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE_HW = (48, 64)
BOX = (10.0, 8.0, 20.0, 16.0)  # of the bright object in every image: left, top, width, height


def image(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """A dark noisy photograph with a bright object in BOX, JPEG unless the name says otherwise."""
    random = np.random.default_rng(zlib.crc32(path.name.encode()))
    pixels = random.integers(0, 60, (*size_hw, 3), np.uint8)
    x, y, width, height = map(int, BOX)
    pixels[y : y + height, x : x + width] = (250, 200, 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def object_mask(size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    mask = np.zeros(size_hw, bool)
    x, y, width, height = map(int, BOX)
    mask[y : y + height, x : x + width] = True
    return mask


def polygon() -> list[float]:
    x, y, width, height = BOX
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed counts, down the columns, the first of zeros; written out the slow way."""
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = not value
        counts[-1] += 1
    return counts


def refcoco(root: Path, dataset: str = "refcoco", split_by: str = "unc") -> Path:
    """Three objects on two COCO photographs: two for training, one for validation, four sentences."""
    names = {9: "COCO_train2014_000000000009.jpg", 25: "COCO_train2014_000000000025.jpg"}
    for name in names.values():
        image(root / "images/mscoco/images/train2014" / name)
    instances: dict[str, Any] = {
        "info": {"description": "refer"},
        "images": [
            {"id": i, "file_name": name, "height": SIZE_HW[0], "width": SIZE_HW[1], "license": 3}
            for i, name in names.items()
        ],
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
        "annotations": [
            {"id": 100, "image_id": 9, "category_id": 1, "iscrowd": 0, "area": 320.0, "bbox": list(BOX),
             "segmentation": [polygon()]},
            {"id": 101, "image_id": 25, "category_id": 1, "iscrowd": 1, "area": 320.0, "bbox": list(BOX),
             "segmentation": {"size": list(SIZE_HW), "counts": run_lengths(object_mask())}},
            {"id": 102, "image_id": 25, "category_id": 1, "iscrowd": 0, "area": 320.0, "bbox": list(BOX),
             "segmentation": [polygon()]},
        ],
    }  # fmt: skip
    refs = [
        _ref(0, 100, 9, "train", ["the yellow one on the left", "yellow box"]),
        _ref(1, 101, 25, "train", ["bright thing"]),
        _ref(2, 102, 25, "val", ["box"]),
    ]
    folder = root / dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))
    return root


def _ref(number: int, annotation: int, photograph: int, split: str, sentences: list[str]) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": photograph,
        "category_id": 1,
        "file_name": f"COCO_train2014_{photograph:012d}_{annotation}.jpg",  # no such file: as published
        "split": split,
        "sent_ids": [10 * number + i for i in range(len(sentences))],
        "sentences": [
            {"raw": text, "sent": text.lower(), "sent_id": 10 * number + i, "tokens": text.split()}
            for i, text in enumerate(sentences)
        ],
    }


def lvis(root: Path) -> Path:
    """Two photographs, one under its name of 2017 and one of 2014; three categories, one not exhaustive."""
    image(root / "train2017/000000000030.jpg")
    image(root / "train2014/COCO_train2014_000000000034.jpg")
    half = [10.0, 8.0, 20.0, 8.0, 20.0, 24.0, 10.0, 24.0]
    other = [20.0, 8.0, 30.0, 8.0, 30.0, 24.0, 20.0, 24.0]
    content: dict[str, Any] = {
        "images": [
            {"id": i, "coco_url": f"http://images.cocodataset.org/train2017/{i:012d}.jpg", "height": SIZE_HW[0],
             "width": SIZE_HW[1], "not_exhaustive_category_ids": [3] if i == 30 else [], "neg_category_ids": [7]}
            for i in (30, 34)
        ],
        "categories": [
            {"id": 1, "name": "bow_(weapon)", "synonyms": ["bow_(weapon)"], "synset": "bow.n.04",
             "frequency": "r", "def": "a weapon for shooting arrows", "image_count": 1, "instance_count": 1},
            {"id": 2, "name": "alarm_clock", "synonyms": ["alarm_clock", "alarm"], "synset": "alarm_clock.n.01",
             "frequency": "c", "def": "a clock that wakes", "image_count": 1, "instance_count": 2},
            {"id": 3, "name": "cup", "synonyms": ["cup"], "synset": "cup.n.01", "frequency": "f",
             "def": "a small open container", "image_count": 2, "instance_count": 2},
        ],
        "annotations": [
            _instance(1, 30, 1, [polygon()]),
            _instance(2, 30, 2, [half]),
            _instance(3, 30, 2, [other]),
            _instance(4, 30, 3, [half]),
            _instance(5, 34, 3, [polygon()]),
        ],
    }  # fmt: skip
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations/lvis_v1_train.json").write_text(json.dumps(content))
    return root


def _instance(number: int, photograph: int, category: int, segmentation: list[list[float]]) -> dict[str, Any]:
    return {"id": number, "image_id": photograph, "category_id": category, "segmentation": segmentation,
            "bbox": list(BOX), "area": 320.0}  # fmt: skip


def visual_genome(root: Path, photographs: int = 3) -> Path:
    """Photographs in both folders, two phrases each; the first is also in COCO."""
    content, data = [], []
    for number in range(1, photographs + 1):
        image(root / ("VG_100K" if number % 2 else "VG_100K_2") / f"{number}.jpg")
        x, y, width, height = map(int, BOX)
        regions = [
            {"region_id": 10 * number + i, "image_id": number, "phrase": phrase,
             "x": x, "y": y, "width": width, "height": height}
            for i, phrase in enumerate(["a yellow box", "the box is bright "])
        ]  # fmt: skip
        content.append({"id": number, "regions": regions})
        data.append({"image_id": number, "url": f"https://example.org/VG_100K/{number}.jpg", "width": SIZE_HW[1],
                     "height": SIZE_HW[0], "coco_id": 9 if number == 1 else None, "flickr_id": None})  # fmt: skip
    (root / "region_descriptions.json").write_text(json.dumps(content))
    (root / "image_data.json").write_text(json.dumps(data))
    return root


def mapillary(root: Path) -> Path:
    """Two street scenes, one per split: two cars (one category), sky, a crowd, and the vehicle's own bonnet."""
    for folder, name in (("training", "_2VkOQZ3QbyYSTd8bRFxYw"), ("validation", "4LjEivmQhHILsxVIWwbBrA")):
        image(root / folder / "images" / f"{name}.jpg")
        codes = np.full(SIZE_HW, 300, np.uint32)  # the sky; above 255, so two channels matter
        codes[8:24, 10:20], codes[8:24, 20:30] = 1, 70_000
        codes[40:, :30], codes[40:, 30:] = 5, 6
        panoptic = root / folder / "v2.0/panoptic"
        panoptic.mkdir(parents=True, exist_ok=True)
        colours = np.stack([codes % 256, codes // 256 % 256, codes // 65536], -1).astype(np.uint8)
        Image.fromarray(colours).save(panoptic / f"{name}.png")
        segments = [
            _segment(300, 1, codes),
            _segment(1, 2, codes),
            _segment(70_000, 2, codes),
            _segment(5, 3, codes, crowd=1),
            _segment(6, 4, codes),
        ]
        (panoptic / "panoptic_2020.json").write_text(json.dumps(_panoptic(name, segments)))
    return root


def _panoptic(name: str, segments: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": [{"id": name, "file_name": f"{name}.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]}],
        "annotations": [{"image_id": name, "file_name": f"{name}.png", "segments_info": segments}],
        "categories": [
            {"id": 1, "name": "Sky", "supercategory": "nature--sky", "isthing": 0, "color": [70, 130, 180]},
            {"id": 2, "name": "Car (Parked)", "supercategory": "object--vehicle", "isthing": 1, "color": [0, 0, 1]},
            {"id": 3, "name": "Person Group", "supercategory": "human--person", "isthing": 1, "color": [0, 0, 2]},
            {"id": 4, "name": "Ego Vehicle", "supercategory": "void--ego-vehicle", "isthing": 0, "color": [0, 0, 3]},
        ],
    }  # fmt: skip


def _segment(number: int, category: int, codes: np.ndarray, crowd: int = 0) -> dict[str, Any]:
    rows, columns = np.nonzero(codes == number)
    box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    return {"id": number, "category_id": category, "iscrowd": crowd, "area": len(rows), "bbox": box}


def prepared(root: Path) -> Path:
    """The published mixture's parquet, with `Image` columns as the hub writes them, and the images of all three."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image(root / "coco/train2014/COCO_train2014_000000000077.jpg")
    image(root / "coco/val2014/COCO_val2014_000000000042.jpg")
    image(root / "vg/VG_100K_2/2345.jpg")
    image(root / "mapillary/aBcD-1_x.jpg")
    rows = [
        ("COCO_train2014_000000000077", "refcoco", "the box on the left"),
        ("COCO_val2014_000000000042", "lvis", "box"),
        ("2345", "visual genome", "a yellow box"),
        ("aBcD-1_x", "mapillary vistas", "car"),
        ("999", "visual genome", "a box that nobody has"),
    ]
    png = io.BytesIO()
    Image.fromarray(object_mask()).convert("1").save(png, "PNG")
    cells = [
        {"image_id": name, "dataset": dataset, "mask": {"bytes": png.getvalue(), "path": None},
         "referential_expression": text}
        for name, dataset, text in rows
    ]  # fmt: skip
    (root / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(cells), root / "data/train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(cells[:2]), root / "data/validation-00000-of-00001.parquet")
    return root


def every_source(root: Path) -> dict[str, dict[str, Any]]:
    """All of them below `root`, as a recipe names them under `data.sources`."""
    refcoco(root / "refer")
    refcoco(root / "refer", "refcoco+")
    refcoco(root / "refer", "refcocog", "umd")
    lvis(root / "lvis")
    visual_genome(root / "vg")
    mapillary(root / "vistas")
    prepared(root / "prepared")
    return {
        "refcoco": {"root": str(root / "refer")},
        "refcoco+": {"kind": "refcoco", "dataset": "refcoco+", "root": str(root / "refer")},
        "refcocog": {"kind": "refcoco", "dataset": "refcocog", "root": str(root / "refer")},
        "lvis": {"root": str(root / "lvis")},
        "visual_genome": {"root": str(root / "vg"), "validation_share": 0},
        "mapillary": {"root": str(root / "vistas")},
        "prepared": {
            "root": str(root / "prepared"),
            "coco": str(root / "prepared/coco"),
            "visual_genome": str(root / "prepared/vg"),
            "mapillary": str(root / "prepared/mapillary"),
        },
    }
