"""Regions small enough to check by eye."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from anomaly.errors import SteerAnomalyError
from anomaly.inspection import Region, millimetres
from anomaly.regions import Least, find_regions

MASK = np.array(
    [
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],  # touches the first row by a corner: one region of three pixels
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1],
    ],
    dtype=bool,
)


def test_corners_connect_and_the_highest_peak_comes_first():
    heatmap = np.zeros(MASK.shape, np.float32)
    heatmap[1, 2], heatmap[3, 3], heatmap[2, 2] = 0.5, 0.75, 9.0  # the 9 lies outside the mask
    assert find_regions(MASK, heatmap) == (
        Region(area=2, box_xyxy=(3, 3, 5, 4), centroid_xy=(3.5, 3.0), peak=0.75),
        Region(area=3, box_xyxy=(0, 0, 3, 2), centroid_xy=(1.0, pytest.approx(1 / 3)), peak=0.5),
    )


def test_equal_peaks_are_ordered_by_area():
    areas = [region.area for region in find_regions(MASK, np.full(MASK.shape, -2.0, np.float32))]
    assert areas == [3, 2]


def test_no_defect_gives_no_region():
    assert find_regions(np.zeros((4, 5), bool), np.ones((4, 5), np.float32)) == ()


def test_one_pixel_image_and_a_mask_of_255():
    (region,) = find_regions(np.full((1, 1), 255, np.uint8), np.full((1, 1), 0.25, np.float32))
    assert region == Region(area=1, box_xyxy=(0, 0, 1, 1), centroid_xy=(0.0, 0.0), peak=0.25)


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(5, 4\)"):
        find_regions(MASK, np.zeros((5, 4), np.float32))


@pytest.mark.parametrize("share", [0.02, 0.4])  # many regions and few
def test_every_region_has_the_peak_that_scipy_finds(share):
    random = np.random.default_rng(0)
    mask = cv2.blur(random.random((60, 90)).astype(np.float32), (5, 5)) > (0.62 if share < 0.1 else 0.5)
    mask[:7], mask[:, :9] = False, False  # regions do not begin at the picture's corner
    heatmap = random.normal(size=mask.shape).astype(np.float32)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    found = find_regions(mask, heatmap)
    assert len(found) == count > 2
    assert [one.peak for one in found] == sorted(ndimage.maximum(heatmap, labels, range(1, count + 1)))[::-1]
    centres = ndimage.center_of_mass(mask, labels, range(1, count + 1))
    np.testing.assert_allclose(sorted(one.centroid_xy[::-1] for one in found), sorted(centres))


def test_the_smallest_defect_in_pixels_or_millimetres():
    small = Least.of("12", "1.5mm", 0.5)
    assert (small.area, small.size) == (12, 3) and Least.of("0.5mm2", 0, 0.1).area == pytest.approx(50)
    assert Least.of("2mm²", "4 px", 1.0) == Least(2, 4, 1.0)
    assert Least.from_dict(small.to_dict() | {"model": "nano"}) == small and Least().to_dict() == {}
    wide, tall = (Region(12, box, (0.0, 0.0), 1.0) for box in ((0, 0, 3, 4), (0, 0, 2, 2)))
    assert small.keeps(wide) and not small.keeps(tall)
    mask = np.zeros((9, 9), bool)
    mask[0, :3], mask[4:8, 4:8], mask[8, 0] = True, True, True
    kept = Least(area=4).kept(mask)
    assert kept.sum() == 16 and kept[4:8, 4:8].all()
    assert Least(size=3).kept(mask).sum() == 19


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("1mm2", "0", None), "mm-per-pixel"), (("1mm", "0", 1.0), "least area such as"),
        (("0", "1mm2", 1.0), "least size such as"), (("x", "0", None), "got 'x'"), (("0", "0", 0.0), "above 0"),
        (("-1", "0", None), "got '-1'"),
    ],
)  # fmt: skip
def test_sizes_that_are_none_are_refused(given, said):
    with pytest.raises(SteerAnomalyError, match=said):
        Least.of(*given)


def test_a_region_has_its_size_in_millimetres_where_the_scale_is_known():
    region = Region(50, (1, 2, 11, 7), (5.0, 4.0), 1.0)
    assert millimetres(region, 0.1) == {"area_mm2": pytest.approx(0.5), "size_mm": pytest.approx(1.0)}
    assert millimetres(region, None) == {}
