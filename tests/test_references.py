"""References: distances, their scale, the coreset, copies, and what is said about a bad set of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.descriptions import Description, content_hash, turned
from anomaly.evidence.reference_check import (
    check_likeness,
    check_part,
    check_sizes,
    read_references,
    sizes_of,
)
from anomaly.evidence.references import MemoryBank, References, Subspace, coreset


def described(
    seed: int, shift: float = 0.0, grid: tuple[int, int] = (4, 5), channels: int = 8
) -> Description:
    patches = np.random.default_rng(seed).normal(shift, 1, (*grid, channels)).astype(np.float32)
    return Description(patches, f"{seed:064x}")


def part(seed: int) -> Description:
    """Five channels that say what part it is, everywhere alike up to a little noise."""
    rng = np.random.default_rng(seed)
    row = np.linspace(0, 3, 6)[None, :, None] * np.ones((6, 1, 5))
    return Description((row + rng.normal(0, 0.1, row.shape)).astype(np.float32), f"{seed:064x}")


# Distances ---------------------------------------------------------------------------------------------------


def test_distance_to_the_nearest_of_a_bank_solved_by_hand():
    bank = MemoryBank([Description(np.float32([[[0, 0], [3, 4]]]), "aa" * 32)])
    got = bank.distances(np.float32([[[0, 0], [3, 0]], [[6, 8], [1, 0]]]))
    np.testing.assert_allclose(got, [[0, 3], [5, 1]], atol=1e-3)


def test_distances_are_those_of_scipy_with_and_without_one_reference():
    references = [described(seed) for seed in range(4)]
    bank, patches = MemoryBank(references), described(9).patches
    for without in (None, 2):
        rows = np.concatenate([one.rows() for number, one in enumerate(references) if number != without])
        expected = cdist(patches.reshape(-1, 8), rows).min(1).reshape(4, 5)
        np.testing.assert_allclose(bank.distances(patches, without), expected, rtol=1e-4)


def test_the_subspace_is_that_of_sklearn_with_and_without_one_reference():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 8))
    references = [
        Description(
            (rng.normal(size=(4, 5, 3)) @ mixing + 0.1 * rng.normal(size=(4, 5, 8))).astype(np.float32),
            str(k),
        )
        for k in range(5)
    ]
    way, patches = Subspace(references, explained=0.9), described(9).patches
    for without in (None, 1):
        rows = np.concatenate([one.rows() for number, one in enumerate(references) if number != without])
        pca = PCA(0.9, svd_solver="full").fit(rows)
        flat = patches.reshape(-1, 8)
        expected = np.linalg.norm(flat - pca.inverse_transform(pca.transform(flat)), axis=1).reshape(4, 5)
        np.testing.assert_allclose(way.distances(patches, without), expected, rtol=1e-3, atol=1e-4)


def test_a_turned_reference_is_found_only_where_it_was_turned():
    straight, turned_patches = described(1), described(2).patches
    both = Description(straight.patches, straight.content, (turned_patches,))
    assert MemoryBank([straight]).distances(turned_patches).min() > 0.1
    np.testing.assert_allclose(MemoryBank([both]).distances(turned_patches), 0, atol=1e-2)


# Scale -------------------------------------------------------------------------------------------------------


def test_the_same_number_means_the_same_oddness_for_any_part():
    for factor in (1.0, 3.0, 100.0):
        references = [Description(factor * part(k).patches, part(k).content) for k in range(5)]
        seen = part(9).patches.copy()
        seen[2, 3] += 2
        odd = References(references).oddness(Description(factor * seen, "f" * 64))
        assert np.unravel_index(odd.argmax(), odd.shape) == (2, 3)
        assert odd[2, 3] == pytest.approx(
            References([part(k) for k in range(5)]).oddness(Description(seen, "f" * 64))[2, 3], rel=1e-2
        )


@pytest.mark.parametrize("way", [MemoryBank, Subspace])
def test_leave_one_out_scores_are_centred(way):
    references = References([part(k) for k in range(6)], way)
    inner, scores = (
        np.concatenate([scale(one).ravel() for one in references.left_out])
        for scale in (references.scale.inner, references.scale)
    )
    assert (
        abs(np.median(inner)) < 1e-3 and abs(np.median(scores)) < 0.05
    )  # at the border it takes more to be odd
    assert np.percentile(scores, 84.134) <= 1 + 1e-3
    assert np.abs(np.median(references.oddness(part(50)))) < 1.5  # another good picture is like them


# Copies and order --------------------------------------------------------------------------------------------


def test_a_reference_is_not_compared_with_its_own_copy():
    references = [part(k) for k in range(4)]
    odd = part(7)
    odd.patches[1, 1] += 5
    alone, among = References(references), References([*references, odd])
    copy = Description(odd.patches.copy(), odd.content)
    assert among.oddness(copy)[1, 1] > 3
    assert among.oddness(Description(odd.patches, "e" * 64))[1, 1] < 1  # unless it is called another picture
    assert alone.oddness(copy)[1, 1] > 3


def test_copies_among_references_count_once():
    references = [part(k) for k in range(4)]
    assert len(References([*references, references[0]])) == 4
    picture = part(9)
    np.testing.assert_array_equal(
        References([*references, references[0]]).oddness(picture), References(references).oddness(picture)
    )


@pytest.mark.parametrize("way", [MemoryBank, Subspace])
def test_the_order_of_references_does_not_matter(way):
    references = [part(k) for k in range(5)]
    one, other = References(references, way), References(references[::-1], way)
    np.testing.assert_array_equal(one.oddness(part(9)), other.oddness(part(9)))


# How many ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [MemoryBank, Subspace])
def test_one_reference_is_enough(way):
    references = References([part(1)], way)
    seen = part(9)
    seen.patches[2, 4] += np.float32([3, -3, 3, -3, 3])
    odd = references.oddness(seen)
    assert np.isfinite(odd).all() and np.unravel_index(odd.argmax(), odd.shape) == (2, 4)
    np.testing.assert_array_equal(references.oddness(part(1)), 0)  # nothing to compare it with


def test_one_reference_of_one_patch():
    references = References([Description(np.ones((1, 1, 3), np.float32), "a" * 64)])
    assert np.isfinite(references.oddness(Description(np.zeros((2, 2, 3), np.float32), "b" * 64))).all()


def test_no_references_and_unequal_ones_are_refused():
    with pytest.raises(SteerAnomalyError, match="at least one, got 0"):
        References([])
    with pytest.raises(SteerAnomalyError, match=r"\[8, 9\] channels"):
        References([described(1), described(2, channels=9)])


# Coreset -----------------------------------------------------------------------------------------------------


def test_the_coreset_covers_what_a_random_choice_misses():
    rng = np.random.default_rng(0)
    crowd, rare = rng.normal(0, 0.1, (2000, 64)), rng.normal(5, 0.1, (3, 64))
    points = np.concatenate([crowd, rare]).astype(np.float32)
    kept = coreset(points, 20, seed=1)
    assert len(set(kept)) == 20 and (np.diff(kept) > 0).all()
    assert (kept >= 2000).any()
    radius = cdist(points, points[kept]).min(1).max()
    by_chance = [cdist(points, points[rng.permutation(2003)[:20]]).min(1).max() for _ in range(20)]
    assert radius < np.median(by_chance)


def test_the_coreset_is_plain_greedy_k_centre_where_nothing_is_projected():
    points = np.random.default_rng(3).normal(size=(48, 4)).astype(np.float32)
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmax())]
    while len(chosen) < 12:
        chosen.append(int(cdist(points, points[chosen]).min(1).argmax()))
    assert coreset(points, 12, seed=0).tolist() == sorted(chosen)


def test_a_large_bank_is_cut_and_the_same_every_time():
    references = [described(seed, grid=(10, 10)) for seed in range(5)]
    one, other = MemoryBank(references, limit=64), MemoryBank(references, limit=64)
    picture = described(9, grid=(10, 10)).patches
    assert len(one) == 64
    np.testing.assert_array_equal(one.distances(picture), other.distances(picture))
    assert (one.distances(picture) >= MemoryBank(references).distances(picture) - 1e-4).all()


def test_a_coreset_of_copies_is_still_one_of_patches():
    assert len(set(coreset(np.zeros((50, 4), np.float32), 10, seed=0))) == 10


# Pictures ----------------------------------------------------------------------------------------------------


def test_content_is_the_pixels_and_their_shape():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_hash(image) == content_hash(image.copy())
    assert content_hash(image) == content_hash(np.asfortranarray(image))
    assert content_hash(image) != content_hash(image.reshape(4, 2, 3))


def test_ways_a_picture_may_lie():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert len(turned(image)) == 1 and len(turned(image, quarters=True)) == 4
    ways = turned(image, quarters=True, mirrored=True)
    assert len({content_hash(way) for way in ways}) == 8
    np.testing.assert_array_equal(turned(image, mirrored=True)[1], image[:, ::-1])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 255, (20, 30, 3), np.uint8))
    (tmp_path / "copy.png").write_bytes((tmp_path / "b.png").read_bytes())
    (tmp_path / "torn.png").write_bytes((tmp_path / "b.png").read_bytes()[:100])
    return tmp_path


def test_unreadable_and_duplicate_references_are_named(folder):
    pictures, findings = read_references(sorted(folder.glob("*.png")))
    assert [one.name[-5:] for one in pictures] == ["a.png", "b.png", "c.png"]
    assert [(finding.kind, finding.name.split("/")[-1]) for finding in findings] == [
        ("duplicate", "copy.png"),
        ("unreadable", "torn.png"),
    ]
    assert "b.png" in findings[0].message


def test_sizes_and_aspects():
    sizes = {"a": (100, 200), "b": (100, 200), "c": (101, 200), "tall": (200, 100), "large": (300, 600)}
    assert [(one.kind, one.name) for one in check_sizes(sizes)] == [("aspect", "tall"), ("size", "large")]
    found = check_sizes({"a": (100, 200)}, inputs=[(200, 200), (200, 200), (100, 200)])
    assert [one.kind for one in found] == ["aspect"] and "the inputs 200 x 200" in found[0].message
    assert check_sizes({}) == []


def test_one_unlike_all_others_is_named():
    good = [part(k) for k in range(6)]
    stranger = described(99, shift=4, grid=(6, 6), channels=5)
    names = {one.content: f"{number}.png" for number, one in enumerate([*good, stranger])}
    found = check_likeness(names, References([*good, stranger]))
    assert [(one.kind, one.name) for one in found] == [("unlike", "6.png")]
    assert "look at it" in found[0].message
    assert len(check_likeness(names, References([*good[:3], stranger]))) == 1  # of four one can be told
    assert check_likeness(names, References(good)) == []
    assert check_likeness(names, References([good[0], good[1], stranger])) == []  # too few to say


def test_another_part_is_said_only_where_most_pictures_are_odd_everywhere():
    assert check_part([]) is None and check_part([0.1, 0.4, 0.8, 9.0]) is None
    assert check_part([4.0, 4.0, 0.1, 0.1]) is None  # half of them: two kinds in one folder, or defects
    said = check_part([4.0, 4.2, 3.8, 0.1])
    assert said is not None and "3 of 4" in said and "3.9 times" in said


def test_sizes_are_those_of_the_pictures_that_can_be_opened(folder):
    (folder / "empty.png").write_bytes(b"")
    assert sizes_of([folder / "a.png", folder / "empty.png", folder / "none.png"]) == [(20, 30)]
