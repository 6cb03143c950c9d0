"""Masks in every form, records that fail with a reason, and draws that are pure functions of the seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import training_miniatures as draw
from hypothesis import given, settings
from hypothesis import strategies as st

from steervit.training.data.mixture import Mixture, Source, shuffled
from steervit.training.data.records import Record, RecordError
from steervit.training.data.sources import read_mixture
from steervit.training.masks import run_length as masks
from steervit.training.masks.run_length import Box, MaskError, Png, Polygons, Rle, Segments, unpack

# A 4 x 5 mask, its run lengths down the columns, and COCO's compressed form of them, worked out by hand:
# 5, 2, 2, 2, 9 -> 5, 2, 2, then 2 - 2 = 0 and 9 - 2 = 7 -> each below 16, so one character from "0" on.
BY_HAND = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
COUNTS, COMPRESSED = (5, 2, 2, 2, 9), "52207"


@pytest.mark.parametrize("counts", [COUNTS, COMPRESSED])
def test_run_lengths_by_hand(counts):
    np.testing.assert_array_equal(Rle((4, 5), counts).decode((4, 5)), BY_HAND)


def test_encoding_by_hand():
    assert masks.encode(BY_HAND) == Rle((4, 5), COMPRESSED)


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([40], "X1"),  # 40 = 8 + 1 * 32: "8" with the sixth bit (48 + 8 + 32 = "X"), then "1"
        ([20], "d0"),  # 20 has the sign's bit set, so a zero follows: 48 + 20 + 32 = "d", then "0"
        ([9, 9, 9, 4], "999K"),  # 4 - 9 = -5 -> 27 of 32 with the sign's bit: 48 + 27 = "K"
        ([3, 0, 0, 2, 1], "30021"),  # runs of nothing, which only other people's tools write: 2 - 0, 1 - 0
    ],
)
def test_compressed_numbers_by_hand(lengths, text):
    expected = np.repeat([one % 2 == 1 for one in range(len(lengths))], lengths)[:, None]
    np.testing.assert_array_equal(Rle((sum(lengths), 1), text).decode((sum(lengths), 1)), expected)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 1.0])
)
def test_run_lengths_agree_with_the_slow_way(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    np.testing.assert_array_equal(masks.encode(mask).decode(mask.shape), mask)
    slow = Rle((height, width), tuple(draw.run_lengths(mask)))
    np.testing.assert_array_equal(slow.decode(mask.shape), mask)
    assert masks.encode(mask).counts.encode() == slow._compressed()
    if len(slow.counts) > 1:
        with pytest.raises(MaskError):
            Rle((height, width), masks.encode(mask).counts[:-1]).decode((height, width))


@pytest.mark.parametrize(
    "counts", ["5220", "52207o", "5 207", "", "o" * 60, "\xff\0", "522071", (5, 2, 2), (30, -10)]
)
def test_damaged_run_lengths_are_refused(counts):
    with pytest.raises(MaskError):
        Rle((4, 5), counts).decode((4, 5))


def test_a_polygon_covers_what_it_encloses():
    square = Polygons(((1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0),))
    np.testing.assert_array_equal(square.decode((4, 5)), BY_HAND)
    two = Polygons((*square.parts, (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0), (2.0, 2.0, 4.0, 4.0)))
    assert two.decode((4, 5)).sum() == 5  # the union; the last has two points and covers nothing
    assert not Polygons(()).decode((4, 5)).any()


def test_a_box_is_cut_at_the_border():
    assert Box(1, 1, 2, 2).decode((4, 5)).sum() == 4
    assert Box(-3, -3, 5, 5).decode((4, 5)).sum() == 4
    assert Box(3, 3, 90, 90).decode((4, 5)).sum() == 2
    assert not Box(9, 9, 5, 5).decode((4, 5)).any()
    assert not Box(-9, -9, 5, 5).decode((4, 5)).any()


def test_box_of_a_mask():
    assert masks.box_of(BY_HAND) == (1, 1, 3, 3)
    assert masks.box_of(np.zeros((3, 3), bool)) is None


@pytest.mark.parametrize(
    "mask",
    [
        Rle((4, 5), COUNTS),
        Rle((4, 5), COMPRESSED),
        Polygons(((0.5, 1.0, 2.0, 3.25, 4.0, 5.0), (1.0,) * 6)),
        Box(1.5, 2.0, 3.0, 4.0),
        Segments(Path("a/b c.png"), (3, 70_000)),
        Png(b"\x89PNG and so on \x00\xff"),
    ],
)
def test_masks_pack_and_unpack(mask):
    assert unpack(mask.pack()) == mask


def test_what_is_no_mask_is_refused():
    with pytest.raises(MaskError, match="packed mask"):
        unpack(b"?1")
    with pytest.raises(MaskError, match="as COCO writes them"):
        masks.from_coco(None)
    with pytest.raises(MaskError, match="cannot read"):
        Png(b"no").decode((4, 5))


def test_a_record_names_the_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "x.jpg"
    record = Record(path, "a box", Rle((4, 5), COUNTS), "drawn", "x")
    with pytest.raises(RecordError, match=r"x\.jpg.*fetch it again"):
        record.load()
    draw.image(path, (40, 40))
    with pytest.raises(
        RecordError, match=r"'a box' in drawn, image x: .*5 x 4 pixels, the image has 40 x 40"
    ):
        record.load()


# Draws ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 100, 1000])
def test_shuffling_is_a_permutation(count):
    assert sorted(shuffled(i, count, 5) for i in range(count)) == list(range(count))


def test_shuffling_is_even_and_fixed():
    first = Counter(shuffled(0, 4, key) for key in range(4000))
    assert all(900 < first[i] < 1100 for i in range(4))
    orders = Counter(tuple(shuffled(i, 3, key) for i in range(3)) for key in range(6000))
    assert len(orders) == 6 and min(orders.values()) > 850
    # An order never changes between versions, or no run could be resumed.
    assert [shuffled(i, 10, 42) for i in range(10)] == FIXED


FIXED = [3, 2, 1, 7, 5, 4, 0, 6, 9, 8]


def records(count: int, name: str = "a") -> list[Record]:
    return [Record(Path(f"{i}.jpg"), f"{name} {i}", Box(0, 0, 1, 1), name, str(i)) for i in range(count)]


def drawn(mixture: Mixture, steps: range) -> list[str]:
    return [mixture.sample(step, slot).expression for step in steps for slot in range(mixture.batch)]


def test_an_epoch_holds_every_record_once():
    mixture = Mixture([Source("a", records(17)), Source("b", records(7, "b"))], batch=4)
    first, second = drawn(mixture, range(6)), drawn(mixture, range(6, 12))
    assert len(set(first)) == len(set(second)) == 24 == len(mixture)
    assert first != second


def test_draws_depend_on_nothing_but_the_seed():
    def mixture(seed):
        return Mixture([Source("a", records(50), 1), Source("b", records(9, "b"), 3)], batch=6, seed=seed)

    late_first = [mixture(1).sample(step, slot).expression for step in (9, 3, 6) for slot in (5, 0)]
    asked_in_order = drawn(mixture(1), range(10))
    assert late_first == [asked_in_order[6 * step + slot] for step in (9, 3, 6) for slot in (5, 0)]
    assert drawn(mixture(2), range(10)) != asked_in_order
    assert mixture(1).generator(3, 2).random() == mixture(1).generator(3, 2).random()
    assert mixture(1).generator(3, 2).random() != mixture(1).generator(2, 3).random()


def test_weights_are_kept_and_records_come_in_turn():
    mixture = Mixture([Source("a", records(30), 1), Source("b", records(10, "b"), 3)], batch=8)
    assert mixture.shares == {"a": 0.25, "b": 0.75}
    counts = Counter(drawn(mixture, range(20)))  # 160 draws are four epochs
    assert sum(n for text, n in counts.items() if text.startswith("a")) == 40
    assert {n for text, n in counts.items() if text.startswith("b")} == {12}
    assert {counts[f"a {i}"] for i in range(30)} == {1, 2}


def test_fractions_hold_each_other():
    def kept(fraction, seed=0):
        mixture = Mixture([Source("a", records(200))], batch=10, seed=seed, fraction=fraction)
        texts = drawn(mixture, range(len(mixture) // 10))
        assert sorted(texts) == sorted(record.expression for record in mixture.kept("a"))
        return set(texts)

    assert len(kept(0.25)) == 50 and len(kept(0.5)) == 100 and len(kept(1.0)) == 200
    assert kept(0.25) < kept(0.5) and kept(0.25) == kept(0.25, seed=7)


def test_another_attempt_is_another_record_of_the_same_source():
    mixture = Mixture([Source("a", records(100)), Source("b", records(100, "b"))], batch=5)
    first, again = mixture.locate(3, 2), mixture.locate(3, 2, attempt=1)
    assert again[0] == first[0] and again[1] != first[1] and again == mixture.locate(3, 2, attempt=1)


@pytest.mark.parametrize(
    ("sources", "options", "said"),
    [
        ([], {}, "at least one source"),
        ([Source("a", [])], {}, "records in every source, got none in a"),
        ([Source("a", records(3))], {"fraction": 0}, "fraction"),
        ([Source("a", records(3))], {"batch": 0}, "at least one record per step"),
        ([Source("a", records(3), 1), Source("b", records(3))], {}, "a: 1, b: None"),
        ([Source("a", records(3), -1)], {}, "weight above 0"),
    ],
)
def test_impossible_mixtures_are_refused(sources, options, said):
    with pytest.raises(ValueError, match=said):
        Mixture(sources, **{"batch": 2, **options})
    with pytest.raises(IndexError):
        Mixture([Source("a", records(3))], batch=2).sample(0, 2)


def test_all_miniatures_mix(tmp_path):
    sources = draw.every_source(tmp_path)
    mixture = read_mixture(sources, batch=6, index=tmp_path / "index")
    assert set(mixture.sizes) == set(sources)
    assert len(set(map(json.dumps, drawn(mixture, range(len(mixture) // 6))))) > 8
    assert [report.source for report in mixture.missing if not report.complete] == ["prepared"]
