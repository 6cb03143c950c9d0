"""The inspection in Python, with the small golden model (random weights) where no meaning is asked for."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomaly import Inspection, Inspector
from anomaly.errors import NotJudged, SteerAnomalyError
from steervit import SteerViT

GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {"trunk": GOLDEN / "trunk.safetensors", "text_encoder": GOLDEN / "tiny-roberta"}


def inspector(**options):
    return Inspector(GOLDEN / "steervit.pth", **FILES, **options)


def picture(height=48, width=80, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_the_result_has_the_images_own_size_and_names_its_model():
    found = inspector(threshold=1.5).inspect(picture(), object="bottle")
    assert isinstance(found, Inspection)
    assert found.heatmap.shape == found.mask.shape == (48, 80)
    assert found.heatmap.dtype == np.float32
    assert found.model == "steervit"
    assert found.object == "bottle"
    assert found.is_anomalous == (found.score >= 1.5)


def test_the_heatmap_is_the_mean_of_official_heatmaps():
    model = SteerViT.from_pretrained(GOLDEN / "steervit.pth", **FILES)
    image = picture(160, 160)
    prompts = ["the anomaly in the bottle", "a defect in the bottle"]
    data = model.trunk.pretrained_cfg
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    pixels = (pixels - torch.tensor(data["mean"]).view(3, 1, 1)) / torch.tensor(data["std"]).view(3, 1, 1)
    official = sum(model.get_heatmaps(pixels, [prompt])[0, 0].numpy() for prompt in prompts) / 2
    from anomaly.prompts import from_texts

    texts = from_texts([prompt.replace("bottle", "{object}") for prompt in prompts])
    found = inspector(prompts=texts, activation="softmax").inspect(image, "bottle")
    assert found.heatmap == pytest.approx(official * 100, rel=1e-4)  # ours counts the 100 patches


def test_without_a_threshold_nothing_is_judged():
    found = inspector().inspect(picture())
    assert found.is_anomalous is None
    assert found.verdict == "unjudged"
    assert not found.mask.any()
    assert found.regions == ()


def test_an_ok_image_has_an_empty_mask_and_a_defect_never_has():
    high, low = inspector(threshold=1e6), inspector(threshold=0.0, mask_threshold=1e9)
    assert not high.inspect(picture()).mask.any()
    assert low.inspect(picture()).mask.any()
    assert low.inspect(picture()).regions[0].area >= 1


def test_a_batch_equals_single_images_whatever_their_sizes():
    one = inspector(scales="1,2x1")
    images = [picture(48, 80), picture(1, 1), picture(300, 20, seed=1)]
    together = one.inspect_batch(images, "bottle")
    for image, found in zip(images, together, strict=True):
        assert found.heatmap == pytest.approx(one.inspect(image, "bottle").heatmap, abs=1e-5)
        assert found.heatmap.shape == image.shape[:2]


def test_omega_zero_silences_the_text():
    silent = inspector(omega=0.0)
    a, b = (silent.inspect(picture(), name).heatmap for name in ("bottle", "walnut"))
    assert np.array_equal(a, b)
    speaking = inspector()
    a, b = (speaking.inspect(picture(), name).heatmap for name in ("bottle", "walnut"))
    assert not np.array_equal(a, b)


def test_bf16_ranks_pixels_nearly_as_fp32_does():
    from scipy.stats import spearmanr

    full, half = (
        inspector(precision=p, activation="logit").inspect(picture()).heatmap for p in ("fp32", "bf16")
    )
    assert spearmanr(full.ravel(), half.ravel())[0] > 0.98


def test_contrast_prompts_are_subtracted():
    found = inspector(prompts="contrast").inspect(picture(), "bottle").heatmap
    assert found.min() < 0


def test_settings_say_what_decides_a_result():
    settings = inspector(threshold=2.0, scales="1,2").describe()
    assert settings["threshold"] == 2
    assert settings["threshold_source"] == "set by the user"
    assert settings["scales"] == "1,2"
    assert set(settings["hashes"]) == {"checkpoint", "trunk", "text"}
    assert len(settings["hashes"]["checkpoint"]) == 64


def test_prompts_can_be_prepared_and_the_text_tower_dropped():
    one = inspector()
    before = one.inspect(picture(), "bottle").heatmap
    one.prepare("bottle", last=True)
    assert np.array_equal(one.inspect(picture(), "bottle").heatmap, before)
    with pytest.raises(ValueError, match="text encoder"):
        one.inspect(picture(), "walnut")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "fp8"}, "fp8"),
        ({"scales": "0"}, "tiles"),
        ({"activation": "relu"}, "relu"),
        ({"prompts": "no-such-set"}, "no-such-set"),
        ({"device": "no-such-device"}, "no-such-device"),
    ],
)
def test_bad_settings_are_named(options, said):
    with pytest.raises(SteerAnomalyError, match=said):
        inspector(**options)


def test_a_missing_model_is_named():
    with pytest.raises(SteerAnomalyError, match="no-such-model"):
        Inspector("no-such-model")


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 4, 2), np.uint8), ((4, 4, 3), np.float32), ((0, 4, 3), np.uint8)]
)
def test_other_arrays_than_rgb_uint8_are_refused(shape, dtype):
    image = np.zeros(shape, dtype)
    with pytest.raises(SteerAnomalyError, match="RGB"):
        inspector().inspect(image)


def test_a_path_a_pil_image_grey_and_bgr_are_taken(tmp_path):
    one, array = inspector(), picture()
    Image.fromarray(array).save(tmp_path / "x.png")
    expected = one.inspect(array).heatmap
    for same in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(array)):
        assert np.array_equal(one.inspect(same).heatmap, expected)
    assert np.array_equal(one.inspect(array[..., ::-1], channels="bgr").heatmap, expected)
    grey = array[..., 0]
    assert np.array_equal(one.inspect(grey).heatmap, one.inspect(np.stack([grey] * 3, -1)).heatmap)
    with pytest.raises(SteerAnomalyError, match="'rgb' or 'bgr'"):
        one.inspect(array, channels="rbg")


def test_a_result_becomes_json_and_a_picture():
    found = inspector(threshold=0.0).inspect(picture(), "bottle")
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == "defect"
    assert found.overlay(picture()).shape == (48, 80, 3)


def test_inspectors_on_one_model_do_not_change_it_or_each_other():
    model = SteerViT.from_pretrained(GOLDEN / "steervit.pth", **FILES)
    options = [{"omega": 0.3}, {}, {"precision": "bf16"}, {"prompts": "contrast", "activation": "logit"}]
    alone = [inspector(**one).inspect(picture(), "bottle").heatmap for one in options]
    together = [Inspector(model, **one) for one in options]
    together[0].prepare("bottle", last=True)  # drops nobody else's text tower
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(one.inspect, picture(), "bottle") for one in together for _ in range(3)]
    for i, future in enumerate(found):
        assert np.allclose(future.result().heatmap, alone[i // 3], atol=1e-5)
    assert (model.omega, model.dtype) == (1.0, torch.float32)
    assert model.text_encoder is not None


def test_a_batch_is_one_call_of_the_model(monkeypatch):
    one, calls = inspector(scales="1,2"), []
    segment = one.model.segment
    monkeypatch.setattr(
        one.model, "segment", lambda pixels, bank: calls.append(len(pixels)) or segment(pixels, bank)
    )
    one.inspect_batch([picture(seed=i) for i in range(5)], "bottle")
    assert calls == [5, 20]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_not_judged(monkeypatch, broken):
    one = inspector(threshold=0.0)
    real = one.model.segment

    def segment(pixels, bank):
        found = real(pixels, bank)
        logits = found.logits.clone()
        logits[0, 0, 3, 3] = broken
        return replace(found, logits=logits)

    monkeypatch.setattr(one.model, "segment", segment)
    first, second = one.inspect_batch([picture(), picture(seed=1)])
    assert isinstance(first, NotJudged) and "not finite" in str(first)
    assert second.verdict == "defect"
    with pytest.raises(NotJudged):
        one.inspect(picture())


def test_weights_are_read_with_the_first_image_and_files_are_missed_at_once(monkeypatch):
    monkeypatch.setattr("steervit.weights.loading.load_parts", lambda *_: pytest.fail("loaded"))
    assert inspector().settings.image_size == (160, 160)
    with pytest.raises(SteerAnomalyError, match="no-such"):
        Inspector("no-such-model")


def test_scales_that_are_fine_along_one_side_each_lose_nothing():
    found = inspector(scales="3x1,1x3").observe([picture(90, 90)])[0]
    wide, high = (inspector(scales=s).observe([picture(90, 90)])[0].own.shape for s in ("3x1", "1x3"))
    assert found.own.shape == (max(wide[0], high[0]), max(wide[1], high[1]))
