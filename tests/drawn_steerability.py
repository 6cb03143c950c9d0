"""Miniatures of the benchmarks of steered features in their official layouts, and a model that reads colours."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from anomaly.steerability.picture import Picture

COLOURS = {"mug": (220, 30, 30), "key": (30, 220, 30), "pen": (30, 30, 220), "cat": (200, 200, 30)}


class ColourModel:
    """In place of `Steered`: a picture's feature is its mean colour, in which the prompt's colour counts more."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str | None]] = []

    def features(self, pictures: list[Picture], prompt: str | None) -> np.ndarray:
        self.asked.append((len(pictures), prompt))
        colours = np.array([np.asarray(one.read(), float).mean((0, 1)) for one in pictures])
        if name := next((name for name in COLOURS if name in (prompt or "")), None):
            colours *= np.where(np.array(COLOURS[name]) > 100, 20.0, 1.0)
        return colours / np.linalg.norm(colours, axis=1, keepdims=True)


def jpeg(name: str, seed: int, noise: float = 20, size: int = 12) -> bytes:
    """A noisy patch of the colour called `name`."""
    pixels = np.random.default_rng(seed).normal(COLOURS[name], noise, (size, size, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def core(root: Path, scenes: tuple[str, ...] = ("desk", "kitchen"), each: int = 2) -> Path:
    """Two objects a scene, `each` sources an object, and of every first source a variant with the same image_id."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = []
    for scene in scenes:
        for name in ("mug", "key"):
            for number in range(each):
                for _ in range(2 if number == 0 else 1):
                    data = {"bytes": jpeg(name, len(rows)), "path": f"{len(rows)}.jpg"}
                    prompt = f"the {name} on the {scene}"
                    where = f"{scene}-{name}-{number}"
                    rows.append(
                        {"image": data, "image_id": where, "scene": scene, "object": name, "prompt": prompt}
                    )
    (root / "data").mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), root / "data/test-00000-of-00001.parquet")
    return root


def genecis(root: Path, questions: int = 4) -> Path:
    """Galleries of 15: the target has the reference's object, the others another one."""
    entries, folder = [], root / "val2017"
    folder.mkdir(parents=True)
    for q in range(questions):
        name, other = list(COLOURS)[q % 3], list(COLOURS)[(q + 1) % 3]
        ids = [100 * q + i for i in range(16)]
        for i, number in enumerate(ids):
            (folder / f"{number:012d}.jpg").write_bytes(jpeg(name if i < 2 else other, number))
        reference, target, *gallery = ({"val_image_id": number, "instance_ids": [1]} for number in ids)
        entries.append({"condition": name, "reference": reference, "target": target, "gallery": gallery})
    (root / "focus_object.json").write_text(json.dumps(entries))
    return root


def pods(root: Path) -> Path:
    """Four objects of two kinds, one of them for validation; 3 training and 2 test pictures each."""
    names = {"mug_a": "mug", "key_a": "key", "pen_a": "key", "cat_a": "mug"}
    for part, count in (("train", 3), ("test", 2)):
        for name in names:
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 1000 * list(names).index(name) + (100 if part == "test" else 0) + i
                (folder / f"{i}.jpg").write_bytes(jpeg(name[:3], seed))
    split = {name: "val" if name == "cat_a" else "test" for name in names}
    index = {name: i for i, name in enumerate(names)}
    info = {"classes": list(names), "class_to_idx": index, "class_to_sc": names, "class_to_split": split}
    (root / "pods_info.json").write_text(json.dumps(info))
    return root


def voc(root: Path, count: int = 6) -> Path:
    """`VOC2012` with `count` pictures: a square of class 1 + i % 2 with a void border, as palette PNG."""
    base = root / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / part).mkdir(parents=True)
    names = [f"2007_{i:06}" for i in range(count)]
    for i, name in enumerate(names):
        (base / f"JPEGImages/{name}.jpg").write_bytes(jpeg(list(COLOURS)[i % 4], i, size=24))
        mask = np.zeros((24, 24), np.uint8)
        mask[6:18, 6:18] = 255
        mask[8:16, 8:16] = 1 + i % 2
        palette = Image.fromarray(mask)
        palette.putpalette([value for colour in range(256) for value in (colour, 0, 0)])
        palette.save(base / f"SegmentationClass/{name}.png")
    (base / "ImageSets/Segmentation/val.txt").write_text("\n".join(names) + "\n")
    return root
