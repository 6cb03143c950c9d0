"""Makes the sample images that `make demo` inspects. Run from the repository root: python docs/samples/make.py

surfaces/: photographs that come inside scikit-image (brick, grass, gravel; CC0), most with a defect painted on.
parts/: our own renderings of single parts and trays. No sample shows a real defect. None was used in training:
these photographs are not in the training data, and these seeds are set aside.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import skimage

from steervit.nano.scenes.photos import PhotoSource
from steervit.nano.scenes.scene import Scene, render_scene

HERE = Path(__file__).parent
FIRST_SEED, SIZE = 900_000, 320
GOOD, DEFECTIVE = 4, 8


def scenes(photos: PhotoSource | None) -> Iterator[Scene]:
    """Scenes from the seeds that are set aside, whose defects, if any, are neither tiny nor everywhere."""
    for seed in range(FIRST_SEED, FIRST_SEED + 2_000):
        scene = render_scene(seed, SIZE, photos)
        share = scene.defects.mean()
        if not scene.kinds or 0.004 < share < 0.1:
            yield scene


def save(folder: Path, chosen: Iterator[Scene]) -> None:
    """Write the first good and defective scenes as JPEG files named after their defects."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    good = bad = 0
    for scene in chosen:
        if scene.kinds and bad < DEFECTIVE:
            bad += 1
            name = f"{bad}-{'-'.join(scene.kinds).replace(' ', '-')}.jpg"
        elif not scene.kinds and good < GOOD:
            good += 1
            name = f"good-{good}.jpg"
        else:
            continue
        cv2.imwrite(str(folder / name), scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        if (good, bad) == (GOOD, DEFECTIVE):
            return


def main() -> None:
    """Write all samples."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("brick", "grass", "gravel"):
            shutil.copy(Path(skimage.__file__).parent / "data" / f"{name}.png", folder)
        surfaces = (scene for scene in scenes(PhotoSource(folder)) if scene.material == "photograph")
        save(HERE / "surfaces", surfaces)
    save(HERE / "parts", (scene for scene in scenes(None) if 0.15 < scene.layers["object"].mean() < 0.7))


if __name__ == "__main__":
    main()
