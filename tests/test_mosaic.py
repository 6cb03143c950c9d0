from types import SimpleNamespace

import drawn_steerability as drawn
import numpy as np
import pytest
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import mosaic


class Attending:
    """In place of `Steered`: the attention maps given, whatever the prompt."""

    def __init__(self, side, maps):
        self.encoder, self.maps, self.asked = SimpleNamespace(image_size=(side, side)), maps, []

    def attention(self, pictures, prompt):
        self.asked.append((len(pictures), prompt))
        return np.stack([self.maps] * len(pictures)).astype(np.float32)


def test_six_pictures_are_two_mosaics_the_last_filled_up_from_the_first(tmp_path):
    first, second = mosaic.load(drawn.voc(tmp_path))
    assert second.images[2:] == first.images[:2] and len({*first.images, *second.images}) == 6
    assert mosaic.load(tmp_path) == [first, second] != mosaic.load(tmp_path, seed=1)
    assert [path.stem for path in first.images] == [path.stem for path in first.masks]


def test_363_mosaics_are_the_whole_validation_list():
    assert -(-mosaic.PICTURES // 4) == 363


def test_pictures_and_masks_lie_in_the_same_quarter(tmp_path):
    one = mosaic.load(drawn.voc(tmp_path))[0]
    image, labels = np.asarray(one.picture(48).read()), one.labels(48)
    assert image.shape == (48, 48, 3) and labels.shape == (48, 48)
    for i, (path, mask) in enumerate(zip(one.images, one.masks, strict=True)):
        quarter = np.s_[i // 2 * 24 : i // 2 * 24 + 24, i % 2 * 24 : i % 2 * 24 + 24]
        assert np.array_equal(labels[quarter], np.asarray(Image.open(mask)))
        own = np.asarray(Image.open(path), float).mean((0, 1))
        assert image[quarter].mean((0, 1)) == pytest.approx(own, abs=3)


def test_by_hand_a_perfect_map_and_an_even_one(tmp_path):
    one = mosaic.load(drawn.voc(tmp_path))[:1]
    labels = one[0].labels(48)
    for number, name in ((1, "aeroplane"), (2, "bicycle")):
        found = mosaic.evaluate(one, Attending(48, labels == number))
        assert found["per_class"][name]["pr_auc"] == 1
    even = mosaic.evaluate(one, Attending(48, np.ones((48, 48))))
    shares = [(labels == number).sum() / (labels != 255).sum() for number in (1, 2)]
    assert even["global"]["pr_auc"] == pytest.approx(np.mean(shares)) and even["global"]["queries"] == 2


def test_against_a_slow_computation(tmp_path):
    one = mosaic.load(drawn.voc(tmp_path))[:1]
    attention = np.random.default_rng(0).random((48, 48))
    model = Attending(48, attention)
    found = mosaic.evaluate(one, model)["per_class"]["bicycle"]["pr_auc"]
    labels = one[0].labels(48)
    known = labels != 255
    hits = (labels[known] == 2)[np.argsort(-attention[known].astype(np.float32), kind="stable")]
    expected = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()
    assert found == pytest.approx(expected, abs=1e-6)
    assert model.asked == [(1, "the aeroplane"), (1, "the bicycle")]
    mosaic.evaluate(one, model, None)
    assert model.asked[-1] == (1, None)


def test_what_is_wrong_is_named(tmp_path):
    assert "val.txt" in mosaic.problems(tmp_path)[0]
    base = drawn.voc(tmp_path) / "VOC2012"
    Image.new("RGB", (24, 24)).save(base / "SegmentationClass/2007_000001.png")
    found = mosaic.problems(tmp_path)
    assert found[0].startswith("expected 1449 pictures") and "expected class numbers" in found[1]
    (base / "JPEGImages/2007_000002.jpg").unlink()
    with pytest.raises(SteerAnomalyError, match=r"2007_000002\.jpg: not found"):
        mosaic.load(tmp_path)
    (base / "ImageSets/Segmentation/val.txt").write_text("a b")
    with pytest.raises(SteerAnomalyError, match="expected four pictures and more, found 2"):
        mosaic.load(tmp_path)
