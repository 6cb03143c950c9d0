"""Along the border it takes more to be odd where good pictures look odder there, and nowhere else."""

import numpy as np
import pytest

from anomaly.evidence.border_scale import BorderedScale, bordered_scale, zone_of
from anomaly.evidence.mutual_scale import robust_scale


def maps(border=3.0, shape=(32, 32), count=6):
    random = np.random.default_rng(0)
    found = random.normal(10, 1, (count, *shape)).astype(np.float32)
    found[:, zone_of(shape) == 0] += border
    return list(found)


def test_rings_are_counted_from_the_border_in_thirtyseconds_and_corners_apart():
    zones = zone_of((32, 32))
    assert zones[0].tolist() == [4] * 4 + [0] * 24 + [4] * 4 and zones[5, :6].tolist() == [0, 1, 2, 3, 5, 5]
    assert np.bincount(zones.ravel()).tolist() == [96, 96, 96, 96, 4 * 16, 24 * 24]
    assert np.array_equal(zones, zones.T) and np.array_equal(zones, zones[::-1, ::-1])
    assert np.array_equal(np.kron(zones, np.ones((4, 4), int)), zone_of((128, 128)))
    assert zone_of((1, 5)).tolist() == [[4, 0, 0, 0, 4]]


def test_what_is_usual_in_the_corners_is_not_odd_there_and_not_elsewhere():
    found = maps(border=0.0)
    corner = zone_of((32, 32)) == 4
    for one in found:
        one[corner] += 5
    scored = bordered_scale(found)(found[0])
    assert abs(np.median(scored[corner])) < 0.3 and scored[corner].max() < 4
    moved = found[0] + np.where(zone_of((32, 32)) == 0, np.float32(5), 0)
    assert np.median(bordered_scale(found)(moved)[zone_of((32, 32)) == 0]) > 4


def test_what_is_usual_at_the_border_is_not_odd_there():
    found, scale = maps(), bordered_scale(maps())
    scored = np.stack([scale(one) for one in found])
    edge = zone_of((32, 32)) == 0
    assert abs(np.median(scored[:, edge])) < 0.1
    assert abs(np.median(scored[:, ~edge])) < 0.25
    np.testing.assert_array_equal(scored[0][~edge], robust_scale(found)(found[0])[~edge])
    outer = np.stack([one[edge] for one in found])
    by_hand = (found[0][edge] - np.median(outer)) / max(
        scale.width, 1.4826 * np.median(np.abs(outer - np.median(outer)))
    )
    np.testing.assert_allclose(scored[0][edge], by_hand, atol=0.15)


def test_a_border_that_is_more_usual_changes_nothing():
    found = maps(border=-3.0)
    outer = zone_of((32, 32)) == 0
    np.testing.assert_array_equal(
        bordered_scale(found)(found[0])[outer], robust_scale(found)(found[0])[outer]
    )


def test_it_comes_back_from_an_array():
    scale = bordered_scale(maps())
    assert BorderedScale.of_array(scale.to_array()) == scale and len(scale.zones) == 5
    with pytest.raises(ValueError, match="a scale of"):
        BorderedScale.of_array(np.ones(2))
