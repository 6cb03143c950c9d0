"""A fused ensemble: one pass whose changes are the mean of what the prompts would do, and what that gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly import Inspector
from anomaly.errors import SteerAnomalyError
from anomaly.prompts import PromptSet
from steervit import SteerViT
from steervit.modeling.cross_attention import FoldedText, GatedCrossAttention

GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {"trunk": GOLDEN / "trunk.safetensors", "text_encoder": GOLDEN / "tiny-roberta"}
SAID = PromptSet("two", ("a scratch on the {object}", "a hole in the {object}"), ("the {object}",))


@pytest.fixture(scope="module")
def model():
    return SteerViT.from_pretrained(GOLDEN / "steervit.pth", **FILES)


def layer_and_text():
    torch.manual_seed(0)
    layer = GatedCrossAttention(24, heads=3, head_dim=8)
    torch.nn.init.constant_(layer.attn_gate, 0.7)
    torch.nn.init.normal_(layer.cross_attn.norm.bias)
    text, mask = torch.randn(4, 5, 24), torch.ones(4, 5, dtype=torch.bool)
    mask[1, 3:] = mask[2, 2:] = False
    return layer.eval(), text, mask


@torch.no_grad()
def test_a_fused_layer_adds_the_mean_of_what_each_prompt_adds():
    layer, text, mask = layer_and_text()
    x = torch.randn(1, 7, 24)
    each = torch.stack(
        [layer(x, text[p : p + 1], mask[p : p + 1]) for p in range(4)]
    )  # not folded: a witness
    got = layer.forward_folded(x, layer.fold(text, mask).merged())
    assert got.shape == (1, 7, 24)
    assert torch.allclose(got, each.mean(0), atol=1e-5)


@torch.no_grad()
def test_groups_of_unequal_size_stand_in_one_list():
    layer, text, mask = layer_and_text()
    folded, x = layer.fold(text, mask), torch.randn(1, 7, 24)
    listed = FoldedText.listed([folded[:3].merged(), folded[3:].merged()])
    expected = [layer.forward_folded(x, folded[piece].merged()) for piece in (slice(3), slice(3, 4))]
    assert torch.allclose(layer.forward_folded(x, listed), torch.cat(expected), atol=1e-5)


def test_one_prompt_fused_is_that_prompt(model):
    images = torch.rand(2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    bank = model.prepare(["the scratch on the plate", "a plate"])
    assert torch.allclose(
        model.segment(images, bank.fused([1, 1])).logits, model.segment(images, bank).logits, atol=1e-4
    )
    one = bank.fused([2])
    assert (len(one), one.texts) == (1, ("the scratch on the plate | a plate",))


def test_an_inspector_keeps_contrast_prompts_apart():
    picture = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    made = {
        name: Inspector(GOLDEN / "steervit.pth", **FILES, prompts=SAID, activation="logit", ensemble=name)
        for name in (None, "fused")
    }
    exact, fused = (one.inspect(picture, "plate").heatmap for one in made.values())
    assert np.corrcoef(exact.ravel(), fused.ravel())[0, 1] > 0.99
    assert made[None].settings.hash != made["fused"].settings.hash
    assert made["fused"].asked.contrast == 1
    with pytest.raises(SteerAnomalyError, match="expected an ensemble that is fused"):
        Inspector(ensemble="fast")
