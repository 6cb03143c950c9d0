import numpy as np
import pytest
import torch
import training_miniatures as draw
from test_ade20k import ColourPatches

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import refcocog
from anomaly.steerability.refcocog import LEVELS, _measured
from anomaly.steerability.steered import Steered


class Brightness(ColourPatches):
    """An `Encoder` that finds what is bright, whatever the sentence says."""

    image_size, grid_size = (48, 64), (12, 16)

    def transform(self, whole):
        prepare = super().transform(whole)
        return lambda image: prepare(image.resize((64, 48)))

    def logits(self, images, texts):
        self.asked += texts or [None] * len(images)
        return 20 * torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)[:, 0]


class Drawn:
    """In place of a `Sentence`: a mask."""

    def __init__(self, mask):
        self._mask = np.asarray(mask, bool)

    def mask(self):
        return self._mask


def test_the_sentences_of_a_split(tmp_path):
    found, gaps = refcocog.load(draw.refcoco(tmp_path, "refcocog", "umd"), split="train")
    assert sorted(one.text for one in found) == ["bright thing", "the yellow one on the left", "yellow box"]
    assert gaps == [] and len({one.key for one in found}) == 3
    _, gaps = refcocog.load(tmp_path, split="validation")
    assert gaps == ["expected 4896 sentences in the split validation, found 1"]


def test_what_is_bright_is_found(tmp_path):
    found, _ = refcocog.load(draw.refcoco(tmp_path / "data", "refcocog", "umd"), split="train")
    model = Brightness()
    results = refcocog.evaluate(found, Steered(model, tmp_path, {}, batch_size=2))
    total = results["global"]
    assert sorted(model.asked) == sorted(one.text for one in found)
    assert total["pmass"] > 0.9 and total["pointing"] == 1 and total["average_precision"] > 0.9
    assert 0.6 < total["miou"] <= total["miou_best"] <= 1 and total["sentences"] == 3
    again = Brightness()
    assert refcocog.evaluate(found, Steered(again, tmp_path, {})) == results and not again.asked
    refcocog.evaluate(found, Steered(again, tmp_path, {}), with_text=False)
    assert again.asked == [None] * 3
    with pytest.raises(SteerAnomalyError, match="expected a level among"):
        refcocog.evaluate(found, Steered(again, tmp_path, {}), level=0.42)


def test_by_hand_on_patches_that_are_pixels():
    """Weights 4, 2, 1, 1 over a mask of the first two: mass 6/8, scaled 1, 1/3, 0, 0."""
    found = _measured(Drawn([[1, 1, 0, 0]]), np.log(np.array([[4.0, 2.0, 1.0, 1.0]])))
    assert (
        found["pmass"] == pytest.approx(0.75) and found["pointing"] == 1 and found["average_precision"] == 1
    )
    ious = np.array(found["both"]) / np.array(found["either"])
    assert (
        ious[LEVELS.index(0.3)] == 1 and ious[LEVELS.index(0.35)] == 0.5 and ious[LEVELS.index(0.95)] == 0.5
    )
    off = _measured(Drawn([[0, 0, 0, 1]]), np.log(np.array([[4.0, 2.0, 1.0, 1.0]])))
    assert off["pointing"] == 0 and off["pmass"] == pytest.approx(1 / 8) and off["both"][-1] == 0


def test_against_slow_computations():
    """Average precision as the mean precision at each pixel of the mask; IoU by sets."""
    rng = np.random.default_rng(0)
    logits, mask = rng.normal(size=(6, 8)), rng.random((6, 8)) < 0.3
    found = _measured(Drawn(mask), logits)
    order = np.argsort(-logits.ravel())
    hits = mask.ravel()[order]
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    assert found["average_precision"] == pytest.approx(precision[hits].mean(), abs=1e-6)
    share = np.exp(logits) / np.exp(logits).sum()
    scaled = (share - share.min()) / (share.max() - share.min())
    for level, both, either in zip(LEVELS, found["both"], found["either"], strict=True):
        cut, wanted = set(np.flatnonzero(scaled >= level)), set(np.flatnonzero(mask))
        assert (both, either) == (len(cut & wanted), len(cut | wanted))


def test_overall_iou_counts_pixels_and_mean_iou_sentences():
    class Noted:
        encoder = Brightness()

        def noted(self, *_):
            line = {"pmass": 0.5, "pointing": 1.0, "average_precision": 0.5}
            one, other = ([10] * len(LEVELS), [10] * len(LEVELS)), ([0] * len(LEVELS), [90] * len(LEVELS))
            return {str(i): {**line, "both": b, "either": e} for i, (b, e) in enumerate((one, other))}

    total = refcocog.evaluate([], Noted())["global"]
    assert total["miou"] == 0.5 and total["oiou"] == 0.1


def test_what_is_wrong_is_named(tmp_path):
    assert "refcocog needs" in refcocog.problems(tmp_path)[0]
    draw.refcoco(tmp_path, "refcocog", "umd")
    assert "no split 'test'" in refcocog.problems(tmp_path)[0]
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(SteerAnomalyError, match="none of the 1 images of refcocog was found"):
        refcocog.load(tmp_path, split="validation")
