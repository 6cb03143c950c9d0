"""Draws one kind of part for the calibrated demo. Run from the repository root: python docs/samples/flanges.py

flanges/good/: 40 different flanges, to calibrate on. flanges/test/: ten more good ones and eight with a scratch, a
dent, a stain or a hole that was not drilled. Drawn here, so every one is of the same kind; no real part is shown.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent / "flanges"
SIDE, HOLES = 224, 6
DEFECTS = ("scratch", "dent", "stain", "missing-hole")


def flange(rng: np.random.Generator, defect: str | None = None) -> np.ndarray:
    """One picture, RGB uint8; drawn at twice its size."""
    side = 2 * SIDE
    middle = side / 2 + rng.uniform(-8, 8, 2)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32) - middle[::-1, None, None].astype(np.float32)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    image = np.full((side, side, 3), (44, 47, 52), np.float32)
    brushed = cv2.GaussianBlur(rng.normal(0, 1, (360, 1)).astype(np.float32), (1, 9), 0)[:, 0]
    rings = cv2.GaussianBlur(rng.normal(0, 1, (side, 1)).astype(np.float32), (1, 3), 0)[:, 0]
    metal = 150 + 9 * rings[radius.astype(int).clip(0, side - 1)]
    metal += (
        14 * np.cos(2 * (angle - rng.uniform(0, 2 * np.pi)))
        + 5 * brushed[np.degrees(angle).astype(int) % 360]
    )
    body = ((radius < 0.42 * side) & (radius > 0.12 * side)).astype(np.float32)
    metal[(radius > 0.12 * side) & (radius < 0.15 * side)] += 28
    skipped = int(rng.integers(HOLES)) if defect == "missing-hole" else -1
    for number in range(HOLES):
        at = middle + 0.29 * side * np.array(
            [np.cos(turn + number * np.pi / 3), np.sin(turn + number * np.pi / 3)]
        )
        if number != skipped:
            cv2.circle(body, tuple(int(v) for v in at), side // 26, 0.0, -1, cv2.LINE_AA)
    image += body[..., None] * (metal[..., None] * np.array([0.98, 1.0, 1.03], np.float32) - image)
    if defect and defect != "missing-hole":
        image = damaged(rng, image, middle, side, defect)
    image *= rng.uniform(0.94, 1.06) * (1 + rng.uniform(-0.06, 0.06) * x / side)[..., None]
    small = cv2.resize(cv2.GaussianBlur(image, (0, 0), 1.2), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.clip(small + rng.normal(0, 2.5, small.shape), 0, 255).astype(np.uint8)


def damaged(
    rng: np.random.Generator, image: np.ndarray, middle: np.ndarray, side: int, defect: str
) -> np.ndarray:
    """The picture with one defect between two holes or further out."""
    way = rng.uniform(0, 2 * np.pi)
    at = middle + 0.36 * side * np.array([np.cos(way), np.sin(way)])
    layer = np.zeros(image.shape[:2], np.float32)
    if defect == "scratch":
        along = rng.uniform(0, np.pi)
        reach = 0.09 * side * np.array([np.cos(along), np.sin(along)])
        ends = [tuple(int(v) for v in at + sign * reach) for sign in (-1, 1)]
        cv2.line(layer, *ends, 1.0, 3, cv2.LINE_AA)
        return image + cv2.GaussianBlur(layer, (0, 0), 0.8)[..., None] * 70
    axes = (side // 22, side // 34) if defect == "dent" else (side // 14, side // 20)
    cv2.ellipse(layer, tuple(int(v) for v in at), axes, float(np.degrees(way)), 0, 360, 1.0, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(layer, (0, 0), 3)
    if defect == "stain":
        return image * (1 - soft[..., None] * np.array([0.25, 0.45, 0.6], np.float32))
    shade = cv2.Sobel(soft, cv2.CV_32F, 1, 1, ksize=5)
    return image - 12 * soft[..., None] + 60 * (shade / (np.abs(shade).max() + 1e-6))[..., None]


def save(path: Path, image: np.ndarray) -> None:
    """As a small JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> None:
    """Write all flanges."""
    shutil.rmtree(HERE, ignore_errors=True)
    for number in range(40):
        save(HERE / "good" / f"{number + 1:02}.jpg", flange(np.random.default_rng(number)))
    for number in range(10):
        save(HERE / "test" / f"good-{number + 1:02}.jpg", flange(np.random.default_rng(100 + number)))
    for number in range(8):
        defect = DEFECTS[number % len(DEFECTS)]
        save(
            HERE / "test" / f"{defect}-{number // 4 + 1}.jpg",
            flange(np.random.default_rng(200 + number), defect),
        )


if __name__ == "__main__":
    main()
