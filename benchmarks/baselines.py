"""Measures what a few lines of NumPy find without any model: what a detector of defects has to be better than.

    python benchmarks/baselines.py DIR... [--blur 2]

Each DIR is a test set with masks, in any layout that `steer-anomaly eval folder` reads. Every image is judged by
itself, at its original size, with the metrics of `steer-anomaly eval`; the image's score is its map's highest value.

* median colour: distance of each pixel's RGB from the image's median colour
* gradient: length of the gradient of the grey image (Sobel)
* Mahalanobis: distance of six features (RGB, and gradients at three scales) from the image's own mean

`steer-anomaly eval folder --root DIR --method median-colour` (or `mahalanobis`) gives the same figures with all outputs
of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np

from anomaly import prompts
from anomaly.methods.mahalanobis import PixelMahalanobis
from anomaly.methods.median_colour import MedianColour
from anomaly.methods.method import Asked

ASKED = Asked(prompts.load("default"))  # neither reads text


def median_colour(image: np.ndarray) -> np.ndarray:
    """RGB uint8 H x W x 3 -> float32 H x W: Euclidean distance from the median of each channel."""
    return MedianColour(ASKED).find(image, "").map


def gradient(image: np.ndarray) -> np.ndarray:
    """RGB uint8 H x W x 3 -> float32 H x W: length of the grey image's gradient."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def mahalanobis(image: np.ndarray) -> np.ndarray:
    """RGB uint8 H x W x 3 -> float32 H x W: Mahalanobis length of six features within the image, seen at 256 px."""
    return cv2.resize(PixelMahalanobis(ASKED).find(image, "").map, image.shape[1::-1])


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "median colour": median_colour,
    "gradient": gradient,
    "Mahalanobis": mahalanobis,
}


def measure(root: Path, baseline: Callable[[np.ndarray], np.ndarray], blur: float) -> dict[str, float | None]:
    """Pixel AUROC, PRO, F1-max and image AUROC (0..1) of one baseline on one test set; None where undefined."""
    from anomaly.errors import SteerAnomalyError
    from anomaly.metrics import ImageMetrics, PixelMetrics
    from anomaly.pictures.images import read_image
    from anomaly.testsets.folder_layout import folder_samples
    from anomaly.testsets.samples import read_mask

    pixels, images = PixelMetrics(resolution="original"), ImageMetrics()
    for sample in folder_samples(root):
        image = read_image(sample.image)
        found = baseline(image)
        found = cv2.GaussianBlur(found, (0, 0), blur) if blur else found
        try:
            pixels.update(found, read_mask(sample, image.shape[:2]))
        except (
            SteerAnomalyError
        ) as error:  # such as an empty mask of a defective image: `eval` leaves it out too
            click.echo(f"left out: {error}", err=True)
            continue
        images.update(float(found.max()), bool(sample.defective))
    of_pixels, of_images = pixels.compute(), images.compute()
    return {
        "pixel AUROC": of_pixels["auroc"],
        "PRO": of_pixels["pro"],
        "pixel F1-max": of_pixels["f1_max"],
        "image AUROC": of_images["auroc"],
    }


@click.command()
@click.argument(
    "roots", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--blur", default=2.0, show_default=True, help="Gaussian sigma in pixels, on every map; 0 for none."
)
def main(roots: tuple[Path, ...], blur: float) -> None:
    """Print a table of sets and baselines, in %."""
    columns = ("pixel AUROC", "PRO", "pixel F1-max", "image AUROC")
    print(f"| set | baseline | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for name, baseline in BASELINES.items():
        rows = [measure(root, baseline, blur) for root in roots]
        for root, row in zip(roots, rows, strict=True):
            print(f"| {root.name} | {name} | {_cells([row[column] for column in columns])} |", flush=True)
        means = [_mean([row[column] for row in rows]) for column in columns]
        print(f"| mean | {name} | {_cells(means)} |", flush=True)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cells(values: list[float | None]) -> str:
    return " | ".join("-" if value is None else f"{100 * value:.1f}" for value in values)


if __name__ == "__main__":
    main()
