"""Pictures of one kind of part, drawn: a plate with three holes in changing light, with or without a dent."""

import cv2
import numpy as np
from PIL import Image


def plate(seed, defect=False, side=96):
    """RGB uint8, side x side x 3."""
    random = np.random.default_rng(seed)
    image = np.full((side, side, 3), 60 + random.integers(0, 10), np.float32)
    middle = (side / 2 + random.uniform(-4, 4), side / 2 + random.uniform(-4, 4))
    cv2.circle(image, tuple(map(int, middle)), int(0.4 * side), (150, 150, 155), -1, cv2.LINE_AA)
    turn = random.uniform(0, 2)
    for angle in (turn, turn + 2.1, turn + 4.2):
        hole = (int(middle[0] + 0.22 * side * np.cos(angle)), int(middle[1] + 0.22 * side * np.sin(angle)))
        cv2.circle(image, hole, side // 18, (30, 30, 30), -1, cv2.LINE_AA)
    if defect:
        place = tuple(int(value) for value in random.integers(int(0.4 * side), int(0.6 * side), 2))
        cv2.ellipse(
            image, place, (side // 10, side // 16), int(random.integers(180)), 0, 360, (130, 50, 30), -1
        )
    image *= 1 + 0.05 * random.standard_normal()
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def plates(folder, seeds, defect=False, side=96):
    """Write one picture for each seed as PNG; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed}.png" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        Image.fromarray(plate(seed, defect, side)).save(path)
    return paths
