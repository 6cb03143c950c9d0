"""Overlapping tiles: where they lie, what they see, and that blending shows no seam."""

import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.tiles import Tiling, parse_scales, parse_tiles


def test_one_tile_is_the_whole_image():
    tiling = Tiling(1, 1, (4, 4))
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    assert tiling.canvas == (4, 4)
    assert np.array_equal(tiling.cut(image, (8, 8))[0], image)


def test_tiles_cover_the_canvas_with_overlap():
    tiling = Tiling(2, 3, (8, 8))
    covered = np.zeros(tiling.canvas)
    for y, x in tiling.corners():
        covered[y : y + 8, x : x + 8] += 1
    assert tiling.canvas == (14, 20)
    assert covered.min() == 1
    assert covered.max() == 4


def test_blending_a_consistent_picture_gives_it_back():
    tiling = Tiling(3, 2, (8, 8))
    truth = np.add.outer(np.arange(tiling.canvas[0]), np.arange(tiling.canvas[1])).astype(np.float32)
    tiles = np.stack([truth[None, y : y + 8, x : x + 8] for y, x in tiling.corners()])
    assert tiling.blend(tiles)[0] == pytest.approx(truth, abs=1e-4)


def test_a_tile_that_disagrees_leaves_no_hard_edge():
    tiling = Tiling(1, 2, (16, 16))
    tiles = np.stack([np.zeros((1, 16, 16)), np.ones((1, 16, 16))]).astype(np.float32)
    assert np.abs(np.diff(tiling.blend(tiles)[0], axis=1)).max() < 0.4


def test_cut_sees_the_right_part_of_the_image():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = 200
    left, right = Tiling(1, 2, (16, 16)).cut(image, (32, 32))
    assert left[:, :20].max() < 10
    assert right[:, 12:].min() > 190


def test_parsing():
    assert parse_tiles("3") == (3, 3)
    assert parse_tiles("2x4") == (2, 4)
    assert parse_scales("1,2x1") == ((1, 1), (2, 1))
    for bad in ("0", "a", "2x", "99", ""):
        with pytest.raises(SteerAnomalyError, match="tiles"):
            parse_tiles(bad)
