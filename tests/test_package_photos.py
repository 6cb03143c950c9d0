"""Photographs out of packages: which are taken, from where, and what is refused."""

import io
from zipfile import ZipFile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from steervit.nano.package_photos import LARGEST, installed_photographs, main, wheel_photographs
from steervit.nano.scenes.photos import PhotoSource


def _png(side: int) -> bytes:
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def wheel(tmp_path):
    """A wheel as robosuite's is laid out: a surface, a drawing, a small icon, a broken picture, code."""
    path = tmp_path / "robosuite-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as file:
        folder = "robosuite/models/assets/textures"
        file.writestr(f"{folder}/steel.png", _png(1500))
        file.writestr(f"{folder}/can.png", _png(200))
        file.writestr(f"{folder}/icon.png", _png(40))
        file.writestr(f"{folder}/broken.png", b"no picture")
        file.writestr(f"{folder}/list.txt", b"steel")
        file.writestr("robosuite/elsewhere/other.png", _png(200))
    return path


def test_surfaces_alone_are_taken_from_a_wheel(wheel):
    found = dict(wheel_photographs(wheel))
    assert list(found) == ["robosuite_steel"]
    assert found["robosuite_steel"].size == (LARGEST, LARGEST)


def test_another_wheel_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"expected wheels of robosuite, .*got torch-2\.whl"):
        list(wheel_photographs(tmp_path / "torch-2.whl"))


def test_installed_packages_have_some():
    names = {name for name, _ in installed_photographs()}
    assert {"skimage_brick", "sklearn_china"} <= names
    assert not any("chessboard" in name or "motorcycle" in name for name in names)


def test_the_folder_serves_as_photographs(tmp_path, wheel):
    out = tmp_path / "surfaces"
    result = CliRunner().invoke(main, ["--out", str(out), str(wheel)], catch_exceptions=False)
    assert result.output.strip() == f"{len(list(out.iterdir()))} photographs in {out}"
    crop = PhotoSource(out).crop(np.random.default_rng(0), 64)
    assert crop.shape == (64, 64, 3)
