"""Mutual scoring: MuSc as published against its golden record, the faster default, its files, its scale."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor

from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence import mutual_scale, mutual_store
from anomaly.evidence.mutual import (
    Company,
    FeatureStore,
    MutualSettings,
    mutual_scores,
    robust_scale,
    robust_scores,
)
from anomaly.evidence.mutual_half import HalfProducts
from anomaly.evidence.mutual_musc import describe_neighbourhood, image_scores, lnamd, musc_scores, rescore
from anomaly.evidence.mutual_products import ArrayProducts, rounded
from anomaly.evidence.mutual_ring import meetings, partner_places, ring

GOLDEN = Path(__file__).parent / "golden" / "musc"
SETTINGS_HASH = hashlib.sha256(b"settings").hexdigest()
SIDE, CHANNELS = 8, 32


@pytest.fixture(scope="module")
def golden() -> tuple[dict, dict[str, Tensor], list[Tensor]]:
    case = json.loads((GOLDEN / "case.json").read_text())
    expected = load_file(GOLDEN / "expected.safetensors")
    return case, expected, [expected[f"tokens_{layer}"] for layer in range(case["layers"])]


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def drawn(images: int, defective: int = 0, seed: int = 0, size: int = 2) -> tuple[Tensor, np.ndarray]:
    """Images of one part, N x L x C, and where a defect was planted: a square of `size` patches in the first ones."""
    gen = torch.Generator().manual_seed(seed)
    layout = torch.randn(1, SIDE, SIDE, CHANNELS, generator=gen)
    tokens = layout + 0.3 * torch.randn(images, SIDE, SIDE, CHANNELS, generator=gen)
    planted = np.zeros((images, SIDE, SIDE), bool)
    for image in range(defective):
        top, left = torch.randint(0, SIDE - size + 1, (2,), generator=gen).tolist()
        planted[image, top : top + size, left : left + size] = True
        tokens[image, top : top + size, left : left + size] += torch.randn(CHANNELS, generator=gen)
    return tokens.flatten(1, 2), planted.reshape(images, -1)


def stored(folder: Path, images: Tensor | list[Tensor], names: list[str] | None = None) -> tuple:
    store = FeatureStore(folder, SETTINGS_HASH)
    keys = [key_of(name) for name in names or range(len(images))]
    for key, tokens in zip(keys, images, strict=True):
        store.add(key, [tokens])
    return store, keys


# ---- as published


def test_descriptions_equal_the_official_ones(golden):
    case, expected, tokens = golden
    for degree in case["aggregation_degrees"]:
        for layer, one in enumerate(tokens):
            torch.testing.assert_close(
                lnamd(one[:, 1:], degree), expected[f"described_r{degree}_l{layer}"], atol=1e-4, rtol=0
            )


def test_scores_equal_the_official_ones(golden):
    case, expected, tokens = golden
    for degree in case["aggregation_degrees"]:
        torch.testing.assert_close(
            musc_scores(tokens, (degree,)), expected[f"scores_r{degree}"], atol=1e-4, rtol=0
        )
    merged = musc_scores(tokens, case["aggregation_degrees"], case["lowest_fraction"])
    torch.testing.assert_close(merged, expected["scores"], atol=1e-4, rtol=0)
    of_images = image_scores(merged, case["upsampled_to"])
    torch.testing.assert_close(of_images, expected["image_scores"], atol=1e-4, rtol=0)
    smoothed = rescore(of_images, expected["cls"], case["rscin_k"])
    torch.testing.assert_close(smoothed, expected["image_scores_rscin"], atol=1e-4, rtol=0)


def test_scores_by_hand():
    """Five images of one patch: unit vectors at 0, 0, 0, 0 and 90 degrees after normalisation of the image."""
    up, down = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])
    tokens = torch.stack([up] * 4 + [down])[:, None].repeat(1, 2, 1)
    assert musc_scores([tokens], (1,))[:, 0].tolist() == pytest.approx([0, 0, 0, 0, 2], abs=1e-3)


@pytest.mark.parametrize("images", [1, 2, 4])
def test_too_few_images_are_an_error_and_no_number(images):
    with pytest.raises(SteerAnomalyError, match=f"at least 5 images.*got {images}"):
        musc_scores([torch.randn(images, 5, 3)])


def test_a_share_of_no_image_is_an_error():
    with pytest.raises(SteerAnomalyError, match="to be one or more"):
        musc_scores([torch.randn(5, 5, 3)], lowest=0.1)


def test_no_images_no_layers():
    for nothing in ([], [torch.empty(0, 5, 3)]):
        with pytest.raises(SteerAnomalyError, match="got 0 images"):
            musc_scores(nothing)


def test_grids_and_degrees_that_do_not_fit():
    with pytest.raises(SteerAnomalyError, match="grid"):
        lnamd(torch.randn(1, 6, 3), 1)
    assert lnamd(torch.randn(1, 6, 3), 3, (2, 3)).shape == (1, 6, 3)
    with pytest.raises(SteerAnomalyError, match="odd degree"):
        lnamd(torch.randn(1, 4, 3), 2)


def test_merged_neighbourhoods_are_unit_means():
    tokens = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(1))
    merged = describe_neighbourhood(tokens)
    mean = sum(lnamd(tokens, degree) for degree in (1, 3, 5))
    torch.testing.assert_close(merged, mean / mean.norm(dim=-1, keepdim=True))


def test_rescoring_by_hand():
    """Scores become 0, 1 and 0.5; the similarities are 1 with itself and 0.8, 0 and 0.6 with each other."""
    tokens = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    scores = torch.tensor([2.0, 4.0, 3.0])
    assert rescore(scores, tokens, (1,)).tolist() == [0, 1, 0.5]
    assert rescore(scores, tokens, (2,)).tolist() == pytest.approx([0.8 / 1.8, 1 / 1.8, 1.1 / 1.6])
    assert rescore(scores, tokens, (1, 2)).tolist() == pytest.approx(
        [0.4 / 1.8, 1.4 / 1.8, (0.5 + 1.1 / 1.6) / 2]
    )


def test_rescoring_without_a_number_to_give():
    same = torch.ones(3)
    assert rescore(same, torch.eye(3)).tolist() == [0, 0, 0]
    with pytest.raises(SteerAnomalyError, match="similarities"):
        rescore(same, torch.zeros(3, 2))
    with pytest.raises(SteerAnomalyError, match="neighbours of 1 to 3"):
        rescore(same, torch.eye(3), (1, 8, 9))


# ---- who meets whom


@pytest.mark.parametrize("images", [2, 3, 4, 5, 6, 7, 12])
@pytest.mark.parametrize("partners", [2, 4, 6, 100])
def test_everyone_meets_as_many_and_once(images, partners):
    met: dict[int, dict[int, int]] = {place: {} for place in range(images)}
    pairs = set()
    for left, right, left_slot, right_slot in meetings(images, partners):
        assert left_slot not in met[left] and right_slot not in met[right]
        met[left][left_slot], met[right][right_slot] = right, left
        pairs.add(frozenset((left, right)))
    wanted = min(partners, images - 1)
    assert len(pairs) == images * wanted / 2
    for place, found in met.items():
        assert sorted(found) == list(range(wanted))
        assert partner_places(place, images, partners) == [found[slot] for slot in range(wanted)]


def test_the_ring_knows_no_order_of_files():
    keys = [key_of(n) for n in range(20)]
    assert ring(keys) == ring(keys[::-1] + keys[:3]) != keys


# ---- products


WAYS = [HalfProducts(), ArrayProducts(), ArrayProducts(rounded=True)]


def both(way, one: Tensor, two: Tensor):
    left, right = (way.right(each.numpy()) for each in (one, two))
    return way.nearest(way.left(left), right)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_one_product_gives_both_sides(way):
    gen = torch.Generator().manual_seed(2)
    one, two = torch.randn(7, 20, generator=gen) + 3, torch.randn(9, 20, generator=gen) + 3
    two[0] = one[3] + 0.01
    rows, columns = both(way, one, two)
    dtype = torch.bfloat16 if way.in_half else torch.float32
    exact = torch.cdist(one.to(dtype).double(), two.to(dtype).double()).square().numpy() / 2
    for got, expected in ((rows, exact.min(1)), (columns, exact.min(0))):
        np.testing.assert_allclose(got, expected, rtol=6e-3 if way.in_half else 1e-4, atol=1e-4)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_pieces_of_a_product_give_the_same(monkeypatch, way):
    one, two = (torch.randn(12, 20, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    whole = both(way, one, two)
    monkeypatch.setattr("anomaly.evidence.mutual_products.ELEMENTS", 40)
    for piece, other in zip(both(way, one, two), whole, strict=True):
        np.testing.assert_allclose(piece, other, rtol=1e-2 if way.in_half else 1e-5, atol=1e-5)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_identical_patch_is_at_distance_zero(way):
    one = torch.randn(5, 40, generator=torch.Generator().manual_seed(3)) * 30
    for found in both(way, one, one):
        assert float(found.max()) <= 1e-2 and float(found.min()) >= 0  # of squares of 72,000


def test_rounding_is_that_of_bfloat16():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(4)) * torch.logspace(-20, 20, 1000)
    assert np.array_equal(rounded(values.numpy()), values.to(torch.bfloat16).float().numpy())
    assert rounded(np.float32([1 + 2**-8, 1 + 3 * 2**-8])).tolist() == [1, 1 + 2**-6]  # ties to even


def test_rounded_products_score_as_half_precision_does(tmp_path):
    tokens, _ = drawn(12, 4, seed=18)
    store, keys = stored(tmp_path, tokens)
    found = {}
    for way in (HalfProducts(), ArrayProducts(rounded=True)):
        company = Company(store, keys)
        company.products = way
        found[way.name] = company.scores()
    native, array = found.values()
    for key in keys:
        np.testing.assert_allclose(array[key].scores, native[key].scores, rtol=1e-3)
        assert array[key].closest == native[key].closest
    same = np.mean([np.mean(array[key].scores == native[key].scores) for key in keys])
    assert same > 0.9  # where they are not, one distance lay between two numbers of half precision


# ---- the default


@pytest.mark.parametrize("precision", ["half", "single", "rounded"])
def test_ranks_as_the_plain_computation(tmp_path, precision):
    tokens, planted = drawn(14, 5, seed=4)
    store, keys = stored(tmp_path, tokens)
    found = mutual_scores(store, keys, MutualSettings(precision=precision))
    ours = np.stack([found[key].scores for key in keys])
    distances = torch.stack([torch.stack([torch.cdist(a, b).amin(1) for b in tokens]) for a in tokens])
    plain = distances.sort(1).values[:, 1 : 1 + int(0.3 * 13)].mean(1)  # without itself, at distance zero
    spread = (2 * tokens.flatten(0, 1).var(0, correction=0).sum()).sqrt()
    np.testing.assert_allclose(ours, plain / spread, rtol=1e-2)
    assert spearmanr(ours.ravel(), plain.ravel()).statistic > 0.998
    assert ours[planted].min() > np.median(ours[~planted])
    assert {one.partners for one in found.values()} == {13}


def test_standardised_channels_count_alike(tmp_path):
    tokens, _ = drawn(8, 2, seed=5)
    plain, keys = stored(tmp_path / "plain", tokens)
    stretched, _ = stored(tmp_path / "stretched", tokens * torch.logspace(-1, 1, CHANNELS) + 5)
    settings = MutualSettings(standardise=True)
    one, other = mutual_scores(plain, keys, settings), mutual_scores(stretched, keys, settings)
    for key in keys:
        np.testing.assert_allclose(one[key].scores, other[key].scores, rtol=2e-2)


def test_several_layers_count_alike(tmp_path):
    tokens, _ = drawn(6, 2, seed=6)
    single, keys = stored(tmp_path / "one", tokens)
    double = FeatureStore(tmp_path / "two", SETTINGS_HASH)
    for key, layer in zip(keys, tokens, strict=True):
        double.add(key, [layer, layer[:, :CHANNELS].repeat(1, 2) * 0.5])
    one, two = mutual_scores(single, keys), mutual_scores(double, keys)
    for key in keys:
        np.testing.assert_allclose(one[key].scores, two[key].scores, rtol=1e-2)


def test_the_same_bytes_in_any_order_of_files(tmp_path):
    tokens, _ = drawn(9, 3, seed=7)
    store, keys = stored(tmp_path / "a", tokens)
    backwards, _ = stored(tmp_path / "b", tokens.flip(0), [str(n) for n in range(9)][::-1])
    settings = MutualSettings(partners=4)
    one, other = mutual_scores(store, keys, settings), mutual_scores(backwards, keys[::-1], settings)
    assert list(one) == list(other)
    assert all(one[key].scores.tobytes() == other[key].scores.tobytes() for key in keys)
    assert Company(store, keys, settings).hash == Company(backwards, keys[::-1], settings).hash


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("partners", [4, 100])
def test_going_on_gives_the_same_bytes(tmp_path, partners):
    tokens, _ = drawn(9, 3, seed=8)
    store, keys = stored(tmp_path, tokens)
    settings, seen = MutualSettings(partners=partners), []

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        mutual_scores(store, keys, settings, tmp_path / "kept", stop)
    resumed = mutual_scores(store, keys, settings, tmp_path / "kept", lambda *counts: seen.append(counts))
    whole = mutual_scores(store, keys, settings)
    assert all(resumed[key].scores.tobytes() == whole[key].scores.tobytes() for key in keys)
    assert all((resumed[key].closest, resumed[key].partners) == (whole[key].closest, whole[key].partners)
               for key in keys)  # fmt: skip
    assert seen[0][0] == 3 and seen[-1] == (9, 9)


def test_another_image_makes_the_comparison_anew(tmp_path):
    tokens, _ = drawn(7, seed=9)
    store, keys = stored(tmp_path, tokens)
    before = mutual_scores(store, keys[:6], finished=tmp_path / "kept")
    after = mutual_scores(store, keys, finished=tmp_path / "kept")
    assert Company(store, keys[:6]).hash != Company(store, keys).hash
    assert any(before[key].scores.tobytes() != after[key].scores.tobytes() for key in keys[:6])


def test_images_of_other_sizes_meet(tmp_path):
    tokens, _ = drawn(6, 1, seed=10)
    images = [one if n % 2 else one[:24] for n, one in enumerate(tokens)]
    store, keys = stored(tmp_path, images)
    found = mutual_scores(store, keys)
    assert [len(found[key].scores) for key in keys] == [len(image) for image in images]


def test_an_image_alone_is_an_error(tmp_path):
    tokens, _ = drawn(1)
    store, keys = stored(tmp_path, tokens)
    for given in ([], keys, keys * 3):
        with pytest.raises(SteerAnomalyError, match="at least 2 images of different content"):
            mutual_scores(store, given)


def test_two_images_are_compared(tmp_path):
    tokens, _ = drawn(2)
    store, keys = stored(tmp_path, tokens)
    found = mutual_scores(store, keys)
    assert found[keys[0]].closest == keys[1] and found[keys[0]].partners == 1
    assert all(np.isfinite(one.scores).all() and one.scores.min() > 0 for one in found.values())


def test_identical_and_black_images_are_finite_and_not_odd(tmp_path):
    same = drawn(1, seed=11)[0][0]
    for name, image in (
        ("identical", same),
        ("black", torch.zeros_like(same)),
        ("grey", torch.full((4, 3), 0.1)),
    ):
        store, keys = stored(tmp_path / name, [image] * 6)
        for settings in (MutualSettings(), MutualSettings(standardise=True)):
            scores = [one.scores for one in mutual_scores(store, keys, settings).values()]
            assert all(np.isfinite(one).all() and one.max() < 0.01 for one in scores)
            assert all(np.abs(one).max() < 1 for one in robust_scores(scores))


def test_a_black_image_among_others_is_odd(tmp_path):
    tokens, _ = drawn(9, seed=12)
    tokens[4] = 0
    store, keys = stored(tmp_path, tokens)
    scores = {key: one.scores.max() for key, one in mutual_scores(store, keys).items()}
    assert max(scores, key=scores.__getitem__) == keys[4]


def test_a_near_copy_does_not_hide_a_defect(tmp_path):
    tokens, planted = drawn(8, 1, seed=13)
    copy = tokens[0] + 0.002 * torch.randn(tokens[0].shape, generator=torch.Generator().manual_seed(0))
    alone, keys = stored(tmp_path / "alone", tokens)
    doubled, more = stored(tmp_path / "doubled", [*tokens, copy])
    one, other = mutual_scores(alone, keys)[keys[0]], mutual_scores(doubled, more)[keys[0]]
    assert other.partners == one.partners == 7 and other.closest != more[-1]
    defect = planted[0]
    assert other.scores[defect].min() > 0.9 * one.scores[defect].min() > np.median(one.scores[~defect])


def test_the_nearest_patch_of_the_most_similar_image(tmp_path):
    tokens, _ = drawn(6, seed=14)
    tokens[2] = tokens[5][torch.arange(64).flip(0)] + 0.1 * torch.randn(64, CHANNELS)
    store, keys = stored(tmp_path, tokens)
    company = Company(store, keys)
    found = company.scores()[keys[2]]
    assert found.closest == keys[5] and set(company.partners(keys[2])) == set(keys) - {keys[2]}
    places, distances = company.nearest(keys[2], [0, 10, 63], found.closest)
    assert places.tolist() == [63, 53, 0] and (distances < 0.2).all()
    with pytest.raises(SteerAnomalyError, match="patches of 0 to 63"):
        company.nearest(keys[2], [64], found.closest)


def test_a_bounded_number_of_partners_says_nearly_the_same(tmp_path):
    tokens, planted = drawn(40, 10, seed=15)
    store, keys = stored(tmp_path, tokens)
    few, all_ = (mutual_scores(store, keys, MutualSettings(partners=n)) for n in (20, 100))
    assert {one.partners for one in few.values()} == {20}
    ours, theirs = (np.stack([found[key].scores for key in keys]) for found in (few, all_))
    assert spearmanr(ours.ravel(), theirs.ravel()).statistic > 0.9
    assert ours[planted].mean() > 2 * ours[~planted].mean()


@pytest.mark.parametrize(
    ("given", "said"),
    [({"partners": 3}, "even"), ({"partners": 0}, "even"), ({"lowest": 0}, "share"), ({"lowest": 2}, "share"),
     ({"precision": "quarter"}, "precision")],
)  # fmt: skip
def test_settings_that_cannot_be(given, said):
    with pytest.raises(SteerAnomalyError, match=said):
        MutualSettings(**given)


# ---- files


def test_what_is_written_is_what_is_read(tmp_path):
    tokens, _ = drawn(1)
    store, (key,) = stored(tmp_path, tokens)
    assert key in store and store.layers(key)[0].dtype == np.float16
    np.testing.assert_allclose(store.layers(key)[0], tokens[0].numpy(), atol=2e-3, rtol=1e-3)
    exact = torch.from_numpy(store.layers(key)[0]).double()
    np.testing.assert_allclose(store.moments(key)[0].mean, exact.mean(0).numpy())
    np.testing.assert_allclose(store.moments(key)[0].square, exact.square().mean(0).numpy())


def test_a_damaged_file_is_absent_and_replaced(tmp_path):
    tokens, _ = drawn(1)
    store, (key,) = stored(tmp_path, tokens)
    whole = store.path(key).read_bytes()
    store.path(key).write_bytes(whole[:100])
    assert key not in store
    with pytest.raises(SteerAnomalyError, match="none that is whole"):
        store.layers(key)
    store.add(key, [tokens[0]])
    assert store.path(key).read_bytes() == whole


def test_other_settings_lie_beside(tmp_path):
    store, (key,) = stored(tmp_path, drawn(1)[0])
    other = FeatureStore(tmp_path, key_of("other settings"))
    assert key not in other
    near = FeatureStore(tmp_path, SETTINGS_HASH[:16] + "0" * 48)  # the same folder
    with pytest.raises(SteerAnomalyError, match="other settings"):
        near.layers(key)
    assert key in store


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    tokens, _ = drawn(3)
    store, keys = stored(tmp_path, tokens[:2], ["0", "1"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mutual_store, "write_whole", full)
    with pytest.raises(SteerAnomalyError, match="No space left on device; free space"):
        store.add(key_of("2"), [tokens[2]])
    assert key_of("2") not in store and keys[0] in store
    with pytest.raises(SteerAnomalyError, match=r"scores of image.*No space left"):
        mutual_scores(store, keys, finished=tmp_path / "kept")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_descriptions_that_are_not_finite_are_not_judged(tmp_path, value):
    tokens = drawn(1)[0][0]
    tokens[3, 3] = value
    with pytest.raises(NotJudged, match="finite"):
        FeatureStore(tmp_path, SETTINGS_HASH).add(key_of(0), [tokens])


def test_shapes_and_keys_that_cannot_be(tmp_path):
    store = FeatureStore(tmp_path, SETTINGS_HASH)
    for layers in ([], [torch.zeros(3)], [torch.zeros(0, 3)], [torch.zeros(3, 2), torch.zeros(4, 2)]):
        with pytest.raises(SteerAnomalyError, match="L x C"):
            store.add(key_of(0), layers)
    with pytest.raises(SteerAnomalyError, match="hex digits"):
        store.add("../outside", [torch.zeros(3, 2)])
    store.add(key_of(0), [torch.zeros(3, 2)])
    store.add(key_of(1), [torch.zeros(3, 4)])
    with pytest.raises(SteerAnomalyError, match="layers of the same channels"):
        Company(store, [key_of(0), key_of(1)])
    with pytest.raises(SteerAnomalyError, match="describe it again"):
        Company(store, [key_of(0), key_of(2)])


def test_descriptions_in_memory_are_bounded(tmp_path, monkeypatch):
    tokens, _ = drawn(9, 3, seed=16)
    store, keys = stored(tmp_path, tokens)
    whole = mutual_scores(store, keys)
    monkeypatch.setattr("anomaly.evidence.mutual.CACHE", 1)
    squeezed = mutual_scores(store, keys)
    assert all(whole[key].scores.tobytes() == squeezed[key].scores.tobytes() for key in keys)


# ---- one scale


def scores_of(folder: Path, images: int, defective: int, level: float = 1.0, size: int = 2) -> tuple:
    tokens, planted = drawn(images, defective, seed=17, size=size)
    store, keys = stored(folder, tokens * level)
    found = mutual_scores(store, keys)
    return [found[key].scores for key in keys], planted


def test_scale_by_hand():
    scale = robust_scale([np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])])
    assert scale.centre == 3 and scale.width == pytest.approx(1.4826)
    np.testing.assert_allclose(scale(np.array([[3.0, 3 + 1.4826]])), [[0, 1]], atol=1e-6)


def test_all_good_is_not_stretched(tmp_path):
    good, _ = scores_of(tmp_path / "good", 20, 0)
    odd, planted = scores_of(tmp_path / "odd", 20, 5)
    most_good = max(one.max() for one in robust_scores(good))
    scaled = np.stack(robust_scores(odd))
    assert most_good < 6 < scaled[planted].mean()
    assert abs(scaled[5:].max() - most_good) < 2  # good images score alike, whatever lies beside them


@pytest.mark.parametrize("size", [1, 2, 3])
def test_most_defective_still_stand_out(tmp_path, size):
    scores, planted = scores_of(tmp_path, 20, 18, size=size)
    scaled = np.stack(robust_scores(scores))
    assert np.median(scaled[planted]) > 2 > np.percentile(scaled[~planted], 95) - 1
    assert np.abs(np.median(scaled[~planted])) < 1


def test_the_same_oddness_for_any_part(tmp_path):
    one, planted = scores_of(tmp_path / "one", 20, 5)
    other, _ = scores_of(tmp_path / "other", 20, 5, level=7.0)
    one, other = np.stack(robust_scores(one)), np.stack(robust_scores(other))
    np.testing.assert_allclose(one[planted], other[planted], rtol=0.05)


def test_background_does_not_set_the_width():
    """Three of five patches are bare background that matches perfectly; the part is not odd for that."""
    gen = np.random.default_rng(0)
    images = [np.concatenate([gen.normal(0.02, 0.001, 60), gen.normal(0.3, 0.03, 40)]) for _ in range(10)]
    assert max(one.max() for one in robust_scores(images)) < 3


def test_one_image_and_flat_scores_are_finite():
    alone = robust_scores([np.array([0.2, 0.21, 0.22, 0.9], np.float32)])
    assert len(alone) == 1 and np.isfinite(alone[0]).all() and alone[0].argmax() == 3
    for level in (0.0, 0.3):
        assert not np.concatenate(robust_scores([np.full((4, 4), level)] * 3)).any()
    tiny = robust_scores([np.array([0, 1e-5, 0, 3e-5])])
    assert np.abs(tiny).max() < 0.01  # nothing to find, and nothing is found


def test_scores_that_cannot_be_scaled():
    for given in ([], [np.empty(0)], [np.array([1, np.nan])], [np.array([np.inf])]):
        with pytest.raises(SteerAnomalyError, match="finite scores of at least one patch"):
            robust_scores(given)


def test_of_very_many_patches_evenly_spread_ones_set_the_scale(monkeypatch):
    scores = [np.random.default_rng(i).gamma(2, size=(10, 10)) for i in range(10)]
    exact = robust_scale(scores)
    monkeypatch.setattr(mutual_scale, "PATCHES", 300)
    scale = robust_scale(scores)
    taken = np.concatenate(
        [one.ravel()[::4] for one in scores]
    )  # 1,000 patches: every fourth is fewer than 300
    assert scale.centre == np.median(taken) and scale == robust_scale(scores[::-1])
    assert abs(scale.centre / exact.centre - 1) < 0.2 and abs(scale.width / exact.width - 1) < 0.2
