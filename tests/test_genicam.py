"""Machine-vision cameras: what is missing is said, and pixels come out as RGB. No camera is needed."""

from types import SimpleNamespace

import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.line import genicam
from anomaly.line.frames import source_of


def test_without_harvesters_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(genicam, "find_spec", lambda name: None)
    with pytest.raises(SteerAnomalyError, match=r"pip install 'steer-anomaly\[genicam\]'"):
        source_of("genicam:123")


def test_without_a_producer_one_sentence_says_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setattr(genicam, "find_spec", lambda name: object())
    monkeypatch.setenv(genicam.PRODUCERS, str(tmp_path))
    with pytest.raises(SteerAnomalyError, match=r"\.cti"):
        source_of("genicam")
    (tmp_path / "maker.cti").write_bytes(b"")
    assert source_of("genicam")[1]


def component(kind, data):
    return SimpleNamespace(data_format=kind, height=data.shape[0], width=data.shape[1], data=data.ravel())


def mosaic(kind, rgb):
    """What a sensor with the pattern `kind`, named after the first row's first two pixels, sees of one colour."""
    order = {"BayerRG8": "RGGB", "BayerGR8": "GRBG", "BayerGB8": "GBRG", "BayerBG8": "BGGR"}[kind]
    four = np.array([rgb["RGB".index(letter)] for letter in order], np.uint8).reshape(2, 2)
    return np.tile(four, (8, 8))


@pytest.mark.parametrize("kind", ["BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8"])
def test_each_bayer_pattern_gives_the_colour_back(kind):
    colour = (200, 120, 40)
    found = genicam.to_rgb(component(kind, mosaic(kind, colour)))
    assert found.shape == (16, 16, 3) and found[8, 8].tolist() == list(colour)


def test_grey_rgb_and_bgr():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(genicam.to_rgb(component("Mono8", grey)), np.repeat(grey[..., None], 3, 2))
    colour = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert np.array_equal(genicam.to_rgb(component("RGB8", colour)), colour)
    assert np.array_equal(genicam.to_rgb(component("BGR8", colour)), colour[..., ::-1])
    with pytest.raises(SteerAnomalyError, match="PixelFormat"):
        genicam.to_rgb(component("Mono12", grey))
