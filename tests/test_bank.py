"""Mutual scoring beside a bank: the scores of a whole run where the bank is the whole run; drawn spread over time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from drawn_archive import draw, listed

from anomaly.archive import bank as banks
from anomaly.archive.bank import Bank
from anomaly.archive.entry import Entry
from anomaly.archive.manifest import write_manifest
from anomaly.archive.places import Place
from anomaly.errors import SteerAnomalyError
from anomaly.evidence.descriptions import Description
from anomaly.evidence.mutual import FeatureStore, mutual_scores
from anomaly.evidence.mutual_scale import RobustScale
from anomaly.observation import Observation


def described(count, grid=(4, 5), channels=16):
    random = np.random.default_rng(0)
    return {f"{i:064x}": random.normal(size=(*grid, channels)).astype(np.float16) for i in range(count)}


def bank_of(patches):
    flat = tuple(one.reshape(-1, one.shape[-1]) for one in patches.values())
    return Bank(tuple(patches), flat, RobustScale(0, 1))


def test_beside_a_bank_of_all_each_image_scores_as_in_a_run_of_all(tmp_path):
    patches = described(9)
    store = FeatureStore(tmp_path, "ab" * 32)
    for key, one in patches.items():
        store.add(key, [torch.from_numpy(one).flatten(0, 1)])
    bank = bank_of(patches)
    for key, expected in mutual_scores(store, patches).items():
        found = bank.scored(Description(patches[key].astype(np.float32), key))
        assert np.allclose(
            found.scores, expected.scores, rtol=0.01
        )  # half precision, summed in another order
        assert (found.partners, found.closest) == (expected.partners, expected.closest)


def test_an_image_that_is_not_in_the_bank_meets_all_of_it():
    bank = bank_of(described(9))
    other = Description(np.random.default_rng(5).normal(size=(3, 3, 16)).astype(np.float32), "ff" * 32)
    found = bank.scored(other)
    assert found.partners == 9 and found.scores.shape == (9,)
    again = bank.scored(other)
    assert np.array_equal(found.scores, again.scores)


def test_a_bank_is_kept_and_comes_back(tmp_path):
    place, bank = Place(str(tmp_path)), bank_of(described(8))
    assert banks.load(place) is None
    banks.save(place, bank)
    back = banks.load(place)
    assert back.contents == bank.contents and back.own_scale == bank.own_scale
    assert all(np.array_equal(a, b) for a, b in zip(back.patches, bank.patches, strict=True))
    assert back.scale == bank.scale


def entries(days):
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        Entry(f"/{day}-{i}.png", "1", 1, begin + timedelta(days=day)) for day in range(days) for i in range(5)
    ]


def test_images_are_drawn_from_every_stretch_of_time_whatever_the_order(tmp_path):
    drawn = []
    for name, order in [("a", 1), ("b", -1)]:
        place, all_of = Place(str(tmp_path / name)), entries(30)[::order]
        manifest = write_manifest(place, all_of, ("x",), True, chapter=64)
        drawn.append(banks.draw(place, manifest, 30, seed=3))
    assert {one.id for one in drawn[0]} == {one.id for one in drawn[1]}
    assert sorted(one.path.split("-")[0] for one in drawn[0]) == sorted(f"/{day}" for day in range(30))
    other = banks.draw(place, manifest, 30, seed=4)
    assert {one.id for one in other} != {one.id for one in drawn[0]}
    assert len(banks.draw(place, manifest, 2000, seed=0)) == 150


class Seeing:
    """Observes a picture's pixels as they are."""

    def observe(self, images, object):
        patches = images[0].astype(np.float32) / 255
        own = patches.mean(2)
        return [
            Observation(own, own.shape, own.shape, object, description=Description(patches, str(own.sum())))
        ]


def test_what_cannot_be_read_is_no_part_of_it_and_too_few_are_refused(tmp_path):
    draw(tmp_path / "img", 9)
    (tmp_path / "img" / "x.png").write_bytes(b"no picture")
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    drawn = banks.draw(place, manifest, 10, 0)
    assert len(banks.make(drawn, Seeing(), "plate").contents) == 9
    with pytest.raises(SteerAnomalyError, match="at least 8"):
        banks.make(drawn[:5], Seeing(), "plate")
