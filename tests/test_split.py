"""Who calibrates and who is a reference, near-duplicates, outliers and mixtures, on drawn features."""

import hashlib

import numpy as np
import pytest

from anomaly.decision.split import folds, joined, same_parts, split, thumbnail, two_kinds, unlike_others
from anomaly.errors import SteerAnomalyError


def contents(n, start=0):
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(start, start + n)]


def features(n, width=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width))


def test_the_split_follows_content_and_seed_but_not_order():
    hashes = contents(20)
    first = split(hashes, 6)
    assert sorted(first.references + first.calibration) == list(range(20))
    assert len(first.references) == 6
    shuffled = np.random.default_rng(0).permutation(20)
    again = split([hashes[i] for i in shuffled], 6)
    assert {hashes[i] for i in first.references} == {hashes[shuffled[i]] for i in again.references}
    assert split(hashes, 6, seed=1) != first


def test_another_picture_moves_few_others():
    before, after = split(contents(20), 6), split(contents(21), 6)
    assert len(set(before.references) - set(after.references)) <= 1


def test_pictures_of_a_part_and_equal_files_stay_together():
    hashes = contents(9)
    hashes.append(hashes[3])
    parts = [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
    for seed in range(10):
        chosen = split(hashes, 3, seed, parts)
        sides = [set(chosen.references), set(chosen.calibration)]
        assert any({0, 1, 2} <= side for side in sides)
        assert any({3, 9} <= side for side in sides)


@pytest.mark.parametrize("references", [-1, 5, 6])
def test_a_part_has_to_be_left(references):
    with pytest.raises(SteerAnomalyError, match="at least one part has to be left for calibration"):
        split(contents(5), references)


def test_folds_are_even_and_hold_parts_together():
    found = folds(contents(20), 5)
    assert np.bincount(found).tolist() == [4, 4, 4, 4, 4]
    assert sorted(folds(contents(7), 7)) == list(range(7))
    parts = [i // 2 for i in range(12)]
    paired = folds(contents(12), 3, parts=parts)
    assert all(paired[i] == paired[i + 1] for i in range(0, 12, 2))
    for count in (0, 1, 8):
        with pytest.raises(SteerAnomalyError, match="2 to 7 folds for 7 good parts"):
            folds(contents(7), count)
    with pytest.raises(SteerAnomalyError, match="photograph more"):
        folds(contents(1), 2)


def test_equal_contents_join_parts_by_hand():
    assert joined(["a", "b", "c"]) == (0, 1, 2)
    assert joined(["a", "b", "a", "c"]) == (0, 1, 0, 2)
    assert joined(["a", "b", "b", "c"], [5, 5, 8, 8]) == (0, 0, 0, 0)
    with pytest.raises(SteerAnomalyError, match="a part for each of 2"):
        joined(["a", "b"], [1])


def test_pictures_taken_twice_are_one_part():
    once = features(15)
    twice = np.vstack([once, once + 0.02 * features(15, seed=1)])
    assert same_parts(once) == tuple(range(15))
    assert same_parts(twice) == (*range(15), *range(15))
    assert same_parts(features(2)) == (0, 1)
    assert len(set(same_parts(np.ones((4, 3))))) == 1


def test_a_chain_of_similar_parts_is_not_one_part():
    chain = np.linspace(0, 1, 40)[:, None] * np.ones((1, 3))
    assert len(set(same_parts(chain))) >= 4


def test_thumbnails_tell_two_takes_from_two_parts():
    rng = np.random.default_rng(0)
    images = [np.kron(rng.integers(60, 180, (8, 8, 3)), np.ones((16, 16, 1))) for _ in range(6)]
    again = [np.roll(1.15 * image + rng.normal(0, 4, image.shape), 1, axis=1) for image in images]
    vectors = np.array([thumbnail(image.clip(0, 255).astype(np.uint8)) for image in images + again])
    assert same_parts(vectors) == (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5)
    assert not thumbnail(np.zeros((5, 3, 3), np.uint8)).any()


def test_outliers_are_listed_and_pairs_of_them_too():
    mixed = features(30)
    assert unlike_others(mixed) == []
    mixed[[4, 11]] += 9
    assert sorted(outlier.index for outlier in unlike_others(mixed)) == [4, 11]
    assert unlike_others(mixed)[0].times > 2
    assert unlike_others(mixed[:4]) == []
    assert unlike_others(np.ones((9, 2))) == []


def test_an_odd_part_taken_three_times_is_still_odd():
    mixed = np.vstack([features(20), features(1) + 9, features(1) + 9, features(1) + 9])
    parts = [*range(20), 20, 20, 20]
    assert {outlier.index for outlier in unlike_others(mixed, parts)} == {20, 21, 22}


def test_two_different_parts_are_noticed():
    one, other = features(12), features(8, seed=1) + 8
    assert two_kinds(np.vstack([other, one])) == (tuple(range(8, 20)), tuple(range(8)))
    assert two_kinds(one) is None
    assert two_kinds(np.vstack([one, other[:1]])) is None
    assert two_kinds(one[:3]) is None
    assert two_kinds(np.ones((6, 2))) is None


@pytest.mark.parametrize("wrong", [np.ones(4), np.array([[1.0, np.nan]])])
def test_features_that_are_no_vectors(wrong):
    for function in (same_parts, unlike_others, two_kinds):
        with pytest.raises(SteerAnomalyError, match="finite feature vectors"):
            function(wrong)
