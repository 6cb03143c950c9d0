"""Along the border it takes more to be odd where good pictures look odder there, and nowhere else."""

import numpy as np
import pytest

from anomaly.evidence.border_scale import BorderedScale, bordered_scale, ring_of
from anomaly.evidence.mutual_scale import robust_scale


def maps(border=3.0, shape=(32, 32), count=6):
    random = np.random.default_rng(0)
    found = random.normal(10, 1, (count, *shape)).astype(np.float32)
    found[:, ring_of(shape) == 0] += border
    return list(found)


def test_rings_are_counted_from_the_border_in_thirtyseconds():
    assert ring_of((32, 32))[0].tolist() == [0] * 32 and ring_of((32, 32))[5, 1] == 1
    assert np.array_equal(np.kron(ring_of((32, 32)), np.ones((4, 4), int)), ring_of((128, 128)))
    assert ring_of((1, 5)).tolist() == [[0, 0, 0, 0, 0]]


def test_what_is_usual_at_the_border_is_not_odd_there():
    found, scale = maps(), bordered_scale(maps())
    scored = np.stack([scale(one) for one in found])
    edge = ring_of((32, 32)) == 0
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
    outer = ring_of((32, 32)) == 0
    np.testing.assert_array_equal(
        bordered_scale(found)(found[0])[outer], robust_scale(found)(found[0])[outer]
    )


def test_it_comes_back_from_an_array():
    scale = bordered_scale(maps())
    assert BorderedScale.of_array(scale.to_array()) == scale and len(scale.rings) == 2
    with pytest.raises(ValueError, match="a scale of"):
        BorderedScale.of_array(np.ones(2))
