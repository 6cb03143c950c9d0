"""Parity with the official code on a checkpoint in the published format (random weights)."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from steervit import SteerViT

GOLDEN = Path(__file__).parent / "golden" / "steervit"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def case():
    return {**json.loads((GOLDEN / "case.json").read_text()), **load_file(GOLDEN / "expected.safetensors")}


@pytest.fixture
def model():
    return SteerViT.from_pretrained(
        GOLDEN / "steervit.pth", trunk=GOLDEN / "trunk.safetensors", text_encoder=GOLDEN / "tiny-roberta"
    )


def assert_close(got, expected):
    difference = (got - expected).abs()
    assert got.shape == expected.shape
    assert difference.max() <= TOLERANCE, f"largest {difference.max():.2e}, mean {difference.mean():.2e}"


@pytest.mark.parametrize("omega", [1.0, 0.6, 0.0])
def test_steered_outputs_agree_with_the_official_code(model, case, omega):
    model.set_gate_factor(omega)
    pixels, texts = case["pixels"], case["texts"]
    encoding = model.encode(pixels, texts, attention=True)
    assert_close(encoding.tokens, case[f"tokens_w{omega}"])
    assert_close(encoding.cls_attention, case[f"cls_attention_w{omega}"])
    assert_close(model.get_heatmaps(pixels, texts), case[f"heatmaps_w{omega}"])


def test_without_text_agrees_with_the_official_code(model, case):
    assert_close(model(case["pixels"]), case["tokens_unconditioned"])


def test_omega_zero_and_no_text_are_bit_identical_to_the_plain_trunk(model, case):
    plain = timm.create_model(
        "test_vit",
        pretrained=True,
        img_size=160,
        pretrained_cfg_overlay={"file": str(GOLDEN / "trunk.safetensors")},
    ).eval()
    with torch.no_grad():
        expected = plain.forward_features(case["pixels"])
    assert torch.equal(model(case["pixels"]), expected)
    model.set_gate_factor(0)
    assert torch.equal(model(case["pixels"], case["texts"]), expected)


def test_ensemble_in_one_pass_equals_one_call_per_prompt(model, case):
    prompts = model.prepare(case["texts"])
    for omega in (1.0, 0.6, 0.0):
        model.set_gate_factor(omega)
        together = model.segment(case["pixels"], prompts).logits
        assert together.shape == (3, 3, 10, 10)
        for i, text in enumerate(case["texts"]):
            alone = model(case["pixels"], [text] * 3, return_segmentation_logits=True)
            assert_close(together[:, i].flatten(1), alone)


def test_ensemble_does_not_depend_on_how_it_is_split(model, case):
    prompts = model.prepare(case["texts"])
    whole = model.segment(case["pixels"], prompts, max_tokens=10_000).logits
    split = model.segment(case["pixels"], prompts, max_tokens=1).logits
    assert_close(split, whole)


def test_prompts_outlive_the_text_encoder(model, case):
    prompts = model.prepare(case["texts"])
    before = model.segment(case["pixels"], prompts).logits
    model.drop_text_encoder()
    assert torch.equal(model.segment(case["pixels"], prompts).logits, before)
    with pytest.raises(ValueError, match="text encoder"):
        model.prepare(["another"])


def test_official_public_surface(model, case):
    pixels, texts = case["pixels"], case["texts"]
    assert (model.patch_size, model.feature_dim, model.image_size) == (16, 64, (160, 160))
    assert model.get_dense_features(pixels, texts).shape == (3, 100, 64)
    assert model.get_global_features(pixels, texts=texts).shape == (3, 64)
    assert model.get_heatmaps(pixels).sum().item() == pytest.approx(3 * 256, rel=0.01)
    attention = model.get_attention_heatmaps(pixels, texts)
    assert attention.shape == (3, 160, 160)
    assert attention.min() >= 0
    assert attention.max() <= 1
    logits = model.forward(pixels, texts, return_segmentation_logits=True)
    assert logits.shape == (3, 100)
    assert model.get_transforms() is not None


def test_intermediate_blocks_come_back_by_number(model, case):
    encoding = model.encode(case["pixels"], case["texts"], blocks=[0, 5])
    assert set(encoding.blocks) == {0, 5}
    assert torch.equal(model.trunk.norm(encoding.blocks[5]), encoding.tokens)


def test_blocks_count_from_the_end_and_must_exist(model, case):
    encoding = model.encode(case["pixels"], case["texts"], blocks=[-1])
    assert torch.equal(model.trunk.norm(encoding.blocks[-1]), encoding.tokens)
    for missing in (99, -7):
        with pytest.raises(ValueError, match=f"from -6 to 5, got {missing}"):
            model.encode(case["pixels"], case["texts"], blocks=[0, missing])


def test_a_view_shares_what_it_can_and_changes_nothing(model, case):
    half = model.view(dtype=torch.bfloat16)
    half.set_gate_factor(0)
    half.drop_text_encoder()
    assert model.dtype == torch.float32 and model.text_encoder is not None and model.omega == 1
    assert model.view().trunk is model.trunk and half.trunk is not model.trunk
    assert half.connector is model.connector
    assert model.view().training is model.training


def test_one_text_per_image_is_demanded(model, case):
    with pytest.raises(ValueError, match="one text per image, got 1"):
        model(case["pixels"], ["only one"])
