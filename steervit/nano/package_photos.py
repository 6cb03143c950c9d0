"""Photographs of real surfaces that come inside Python packages, as a folder for `photos` of a rendered source.

    pip download --no-deps --dest wheels robosuite metaworld gymnasium-robotics
    python -m steervit.nano.package_photos --out surfaces wheels/*.whl

Wheels are opened and never installed or run. Each package's licence allows the use; the pictures stay out of this one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import click
from PIL import Image, UnidentifiedImageError

SMALLEST = 128  # pixels of the shorter side
LARGEST = 1024  # of the longer one, as kept
_SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Package:
    """Where a package keeps its photographs; which of the files there are taken, by their names without an ending."""

    name: str
    folder: str
    left_out: frozenset[str] = frozenset()  # drawings, brands, and what another package has too
    alone: frozenset[str] = frozenset()  # if not empty, these and no others

    def wants(self, file: str) -> bool:
        """Whether `file`, a name, is one to open."""
        stem, suffix = PurePosixPath(file).stem, PurePosixPath(file).suffix.lower()
        return suffix in _SUFFIXES and stem not in self.left_out and (not self.alone or stem in self.alone)


INSTALLED = (
    Package(  # BSD-3-Clause; these pictures are public domain or CC0
        "skimage",
        "data",
        alone=frozenset(
            "astronaut brick camera chelsea coffee coins grass gravel ihc moon page retina".split()  # noqa: SIM905
        ),
    ),
    Package("sklearn", "datasets/images"),  # CC BY 2.0, danielbuechele and vultilion on Flickr
)
WHEELS = (  # MIT, all three
    Package("robosuite", "models/assets/textures", frozenset({"can", "cereal", "lemon", "soda"})),
    Package("metaworld", "assets", frozenset({"height1", "metal", "tennis"})),
    Package(
        "gymnasium_robotics",
        "envs/assets",
        frozenset({"block", "block_hidden", "dice", "darkwood", "wood1"})
        | {"white_marble_tile", "white_marble_tile2"},
    ),
)


def installed_photographs() -> Iterator[tuple[str, Image.Image]]:
    """Name and picture of each photograph in the packages that are installed."""
    for package in INSTALLED:
        spec = find_spec(package.name)
        if spec is None or spec.origin is None:
            continue
        for path in sorted((Path(spec.origin).parent / package.folder).iterdir()):
            if package.wants(path.name):
                yield from _picture(package, path.name, path.read_bytes())


def wheel_photographs(wheel: Path) -> Iterator[tuple[str, Image.Image]]:
    """Name and picture of each photograph in a wheel.

    Raises ValueError for a wheel of a package that is not known to hold any.
    """
    known = {package.name: package for package in WHEELS}
    package = known.get(wheel.name.split("-")[0])
    if package is None:
        raise ValueError(f"expected wheels of {', '.join(known)}, got {wheel.name}")
    with ZipFile(wheel) as file:
        for inside in sorted(file.namelist()):
            if inside.startswith(f"{package.name}/{package.folder}/") and package.wants(inside):
                yield from _picture(package, inside, file.read(inside))


def _picture(package: Package, file: str, content: bytes) -> Iterator[tuple[str, Image.Image]]:
    """Nothing for what is no picture, or too small a one."""
    try:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
    except UnidentifiedImageError:
        return
    if min(picture.size) >= SMALLEST:
        picture.thumbnail((LARGEST, LARGEST))
        yield f"{package.name}_{PurePosixPath(file).stem}", picture


@click.command()
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to fill."
)
@click.argument("wheels", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(out: Path, wheels: tuple[Path, ...]) -> None:
    """Put photographs of surfaces from installed packages and from WHEELS into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for source in (installed_photographs(), *map(wheel_photographs, wheels)):
        for name, picture in source:
            picture.save(out / f"{name}.png")
            count += 1
    click.echo(f"{count} photographs in {out}")


if __name__ == "__main__":
    main()
