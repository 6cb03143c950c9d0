"""Which pixels count: boxes, masks, the part found by itself; and that nothing outside is scored or outlined."""

import cv2
import numpy as np
import pytest
from drawn_parts import plate
from PIL import Image
from scipy import ndimage

from anomaly import heatmaps
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.foreground import part_of
from anomaly.roi import NoRoi, Roi, filled, smaller


def ring(size=200, missing=False):
    """A light ring on a dark, uneven background, with or without a bite out of its edge."""
    y, x = np.mgrid[:size, :size]
    image = np.dstack([30 + 0.1 * x, 34 + 0.05 * y, 40 + 0 * x])
    radius = np.hypot(x - 90, y - 110)
    part = (radius < 60) & (radius > 20)
    if missing:
        part &= ~((np.abs(y - 110) < 8) & (x > 120))
    image[part] = (190, 180, 170)
    image += np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), radius


@pytest.mark.parametrize("missing", [False, True])
def test_the_part_is_found_with_its_hole_and_what_is_missing_of_it(missing):
    image, radius = ring(missing=missing)
    found = part_of(image)
    assert found.shape == (200, 200) and found[radius < 58].all()
    assert not found[radius > 70].any()


def test_where_no_background_is_even_none_is_claimed():
    random = np.random.default_rng(0)
    texture = cv2.resize(random.integers(0, 255, (12, 12, 3), dtype=np.uint8), (200, 300))
    assert part_of(texture) is None
    assert part_of(np.full((64, 64, 3), 90, np.uint8)) is None
    assert part_of(np.full((3, 500, 3), 90, np.uint8)) is None


def test_auto_learns_where_the_part_usually_is_and_distrusts_the_rest():
    auto = Roi.of("auto")
    images = [plate(seed) for seed in range(5)]
    roi = auto.learned([auto.seen(image) for image in images])
    assert roi.name.startswith("auto, learned: mask") and auto.name == "auto"
    whole = roi.inside((96, 96), auto.seen(images[0]))
    assert whole[48, 48] and not whole[2, 2] and 0.4 < whole.mean() < 0.75
    half = auto.seen(images[0]) & (np.arange(96) < 56)  # the rest of this one looks like background
    assert roi.inside((96, 96), half)[48, 70]
    assert roi.inside((96, 96), np.eye(96, dtype=bool)) is None  # far smaller than any good part: judge all
    assert roi.inside((96, 96), None) is None
    seldom = auto.learned([None, None, auto.seen(images[0])])  # as a rule there is no background to be told
    assert seldom.inside((96, 96), auto.seen(images[0])).all() and seldom.inside((96, 96), None) is None


def test_a_learned_region_comes_back_from_arrays():
    auto = Roi.of("auto", np.eye(96, dtype=bool))
    roi = auto.learned([auto.seen(plate(seed)) for seed in range(3)])
    for one in (
        roi,
        Roi.of((1, 2, 3, 4)),
        Roi.of(np.eye(5, dtype=bool)),
        Roi.of(None, np.eye(5, dtype=bool)),
        Roi(),
    ):
        again = Roi.of_arrays(one.name, one.to_arrays())
        assert (again.name, again.ignored_name) == (one.name, one.ignored_name)
        seen = one.seen(plate(9))
        np.testing.assert_array_equal(
            one.inside((96, 96), seen) is None, again.inside((96, 96), seen) is None
        )
    with pytest.raises(SteerAnomalyError, match="calibrate again"):
        Roi.of_arrays("mask", {"roi": np.ones(4, np.uint8)})


def test_a_box_and_a_mask_are_the_pixels_they_say(tmp_path):
    inside = Roi.of("2,1,3,4").inside((6, 8))
    assert inside.sum() == 12 and inside[1:5, 2:5].all()
    Image.fromarray(np.uint8([[0, 255], [0, 0]])).save(tmp_path / "m.png")
    mask = Roi.of(tmp_path / "m.png")
    assert mask.inside((2, 2)).tolist() == [[False, True], [False, False]]
    assert mask.inside((4, 4))[:2, 2:].all() and mask.inside((4, 4)).sum() == 4  # of the same aspect: scaled
    both = Roi.of("0,0,2,2", np.bool_([[1, 0], [0, 0]]))
    assert both.inside((2, 2)).tolist() == [[False, True], [True, True]]
    assert Roi().inside((5, 5)) is None and Roi().name is None


def test_two_regions_never_share_a_name():
    ones = [
        Roi(),
        Roi.of("auto"),
        Roi.of("0,0,2,2"),
        Roi.of(np.eye(4, dtype=bool)),
        Roi.of(np.eye(5, dtype=bool)),
    ]
    ones += [Roi.of(None, np.eye(4, dtype=bool))]
    assert len({(one.name, one.ignored_name) for one in ones}) == len(ones)


@pytest.mark.parametrize("wrong", ["1,2,3", "a,b,c,d", "1,2,0,4", "-1,0,3,3", "no such.png"])
def test_what_is_no_region_is_refused(wrong):
    with pytest.raises(SteerAnomalyError, match="expected"):
        Roi.of(wrong)


def test_a_region_that_does_not_fit_the_picture_is_refused():
    with pytest.raises(SteerAnomalyError, match="without any"):
        Roi.of(np.zeros((4, 4), bool))
    with pytest.raises(SteerAnomalyError, match="no file"):
        Roi.of(None, "missing.png")
    with pytest.raises(NoRoi, match="of 4 x 4 pixels"):
        Roi.of("2,2,3,3").inside((4, 4))
    with pytest.raises(NoRoi, match="aspect, 4 x 4, got 8 x 4"):
        Roi.of(np.ones((4, 4), bool)).inside((4, 8))
    with pytest.raises(NoRoi, match="all of the region"):
        Roi.of("0,0,2,2", np.ones((4, 4), bool)).inside((4, 4))


def test_the_score_is_that_of_the_pixels_inside_and_nothing_else_reaches_it():
    random = np.random.default_rng(0)
    inside = np.zeros((40, 60), bool)
    inside[5:30, 10:45] = True
    heatmap = random.normal(size=inside.shape).astype(np.float32)
    other = np.where(inside, heatmap, 1000).astype(np.float32)
    (one, score), (two, same) = heatmaps.scored(heatmap, 2.0, inside), heatmaps.scored(other, 2.0, inside)
    np.testing.assert_allclose(one[inside], two[inside], atol=1e-4)
    assert score == pytest.approx(same, abs=1e-4)
    assert one[~inside].max() == one[inside].min()
    # Another computation of a blur within a region.
    weight = ndimage.gaussian_filter(inside.astype(float), 2.0, truncate=4)
    expected = ndimage.gaussian_filter(
        np.where(inside, heatmap, 0).astype(float), 2.0, truncate=4
    ) / np.maximum(weight, 1e-9)
    np.testing.assert_allclose(one[8:27, 13:42], expected[8:27, 13:42], atol=0.02)
    whole, usual = heatmaps.scored(heatmap, 2.0)
    assert usual == heatmaps.image_score(heatmaps.smooth(heatmap, 2.0)) and whole.shape == heatmap.shape


def test_outside_lies_at_the_lowest_value_inside():
    heatmap = np.float32([[1, 5], [3, 2]])
    assert filled(heatmap, np.bool_([[0, 1], [1, 0]])).tolist() == [[3, 5], [3, 3]]
    assert filled(heatmap, None) is heatmap
    one = np.zeros((8, 8), bool)
    one[0, 0] = True  # less than half of any cell
    assert smaller(one, (2, 2)).tolist() == [[True, False], [False, False]]
    assert smaller(None, (2, 2)) is None
