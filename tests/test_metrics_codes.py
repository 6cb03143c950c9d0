"""Codes keep the order of float32 and can be turned back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.metrics.codes import CODE_BITS, decode, encode

BELOW_ZERO = (-np.inf, -3.4e38, -1.5, -1, -0.75, -0.5, -0.25, -1e-45)
UP_TO_ONE = (0, 1e-45, 1.2e-38, 0.25, 0.5, 0.50000006, 0.75, 0.99999994, 1)
CORNERS = np.array((*BELOW_ZERO, *UP_TO_ONE, 1.0000001, 1.5, 3.4e38, np.inf), np.float32)


def test_corners_by_hand():
    codes = encode(CORNERS)
    assert np.all(np.diff(codes) > 0)
    assert codes.min() >= 0 and codes.max() < 1 << CODE_BITS
    np.testing.assert_array_equal(decode(codes), CORNERS)


@pytest.mark.parametrize("centre", [0.0, 0.5, 1.0, -0.5, -1.0, 2.0])
def test_neighbouring_floats(centre):
    start = np.float32(centre).view(np.int32)
    bits = np.arange(max(int(start) - 300, -(2**31)), int(start) + 300, dtype=np.int64).astype(np.int32)
    scores = np.unique(bits.view(np.float32)[~np.isnan(bits.view(np.float32))])
    codes = encode(scores)
    assert np.all(np.diff(codes) > 0)
    np.testing.assert_array_equal(decode(codes), scores)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=30))
def test_order_and_inverse(values):
    scores = np.array(values, np.float32)
    codes = encode(scores)
    order = np.subtract.outer(codes, codes)
    np.testing.assert_array_equal(order > 0, scores[:, None] > scores[None])
    np.testing.assert_array_equal(decode(codes), scores)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(int(encode(CORNERS)[0]) + 1, int(encode(CORNERS)[-1])))
def test_decode_rounds_up_in_gaps(code):
    score = decode(np.array([code]))
    with np.errstate(over="ignore", under="ignore"):
        below = np.nextafter(score, np.float32(-np.inf), dtype=np.float32)
    assert encode(score)[0] >= code > encode(below)[0]


def test_scores_close_to_one_are_told_apart_like_those_close_to_zero():
    near_one = np.float32(1) - np.float32(2.0) ** -np.arange(1, 25, dtype=np.float32)
    assert np.all(np.diff(encode(near_one.astype(np.float32))) >= 1 << 22)


def test_empty():
    assert encode(np.zeros(0, np.float32)).size == 0
