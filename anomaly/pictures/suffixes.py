"""The one list of file names that count as images, for photographs and masks, in every command. Opens no file."""

from __future__ import annotations

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm")


def is_image_name(name: str) -> bool:
    """Whether a file of this name is read as an image; hidden files (`._x.png`) are not."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
