"""A cascade: all prompts as one everywhere, each by itself where that is highest; an image decides alone where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from anomaly import Inspector
from anomaly.prompts import PromptSet
from steervit import SteerViT
from steervit.inference import cascade
from steervit.inference.fast_block import run_block_among

GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {"trunk": GOLDEN / "trunk.safetensors", "text_encoder": GOLDEN / "tiny-roberta"}
SAID = ["a scratch on the plate", "a hole in the plate", "the plate"]


@pytest.fixture(scope="module")
def model():
    return SteerViT.from_pretrained(GOLDEN / "steervit.pth", **FILES)


@pytest.fixture(scope="module")
def images(model):
    return torch.rand(3, 3, *model.image_size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{}, {"init_values": 0.1}, {"qk_norm": True, "scale_attn_norm": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_some_tokens_among_all_are_as_in_the_whole_block(options, dtype):
    torch.manual_seed(0)
    block = timm.models.vision_transformer.Block(dim=48, num_heads=3, qkv_bias=True, **options)
    block, x = block.eval().to(dtype), torch.randn(2, 37, 48).to(dtype)
    with torch.inference_mode():
        expected = block(x)[:, 3:9]
        assert torch.allclose(
            run_block_among(block, x[:, 3:9], x).float(),
            expected.float(),
            atol=2e-5 if dtype == torch.float32 else 0.1,
        )


def test_one_prompt_is_that_prompt(model, images):
    bank = model.prepare(SAID[:1])
    found, exact = (model.segment(images, one).logits for one in (bank.cascaded([1]), bank))
    assert torch.allclose(found, exact, atol=1e-4)


@pytest.mark.parametrize("groups", [[3, 0], [2, 1]])
def test_each_prompt_looks_again_where_all_of_them_are_highest(model, images, groups):
    bank = model.prepare(SAID)
    fused = model.segment(images, bank.fused(groups)).logits.flatten(2)
    found = model.segment(images, bank.cascaded(groups)).logits.flatten(2)
    assert found.shape == (3, 3, fused.shape[-1])
    count = round(cascade.SHARE * fused.shape[-1])
    again = torch.zeros_like(fused[:, 0], dtype=torch.bool)
    again.scatter_(1, fused[:, 0].argsort(1, descending=True)[:, :count], True)
    for prompt in range(3):
        like = fused[:, min(prompt // groups[0], fused.shape[1] - 1)]
        assert torch.allclose(found[:, prompt][~again], like[~again], atol=1e-5)
        alone = groups[min(prompt // groups[0], 1)] == 1  # then both are that prompt
        assert alone == torch.allclose(found[:, prompt][again], like[again], atol=1e-3)


def test_an_image_gets_the_same_in_any_batch(model, images):
    bank = model.prepare(SAID).cascaded([2, 1])
    alone = torch.cat([model.segment(one[None], bank).logits for one in images])
    for budget in (None, 200):
        assert torch.allclose(model.segment(images, bank, budget).logits, alone, atol=1e-5)


@pytest.mark.slow
def test_where_text_comes_last_it_is_exact_there():
    model = Inspector("nano").model
    images = torch.rand(2, 3, *model.image_size, generator=torch.Generator().manual_seed(1))
    bank = model.prepare(SAID)
    found, exact = (model.segment(images, one).logits.flatten(2) for one in (bank.cascaded([3]), bank))
    places = model.segment(images, bank.fused([3])).logits.flatten(2)[:, 0].topk(40).indices
    places = places[:, None].expand(-1, 3, -1)
    assert torch.allclose(found.gather(2, places), exact.gather(2, places), atol=1e-4)


def test_text_that_changes_nothing_is_no_cascade(model, images):
    still = model.view()
    still.set_gate_factor(0.0)
    bank = still.prepare(SAID)
    assert torch.equal(still.segment(images, bank.cascaded([3])).logits, still.segment(images, bank).logits)


def test_an_inspector_takes_it_and_its_scores_are_its_own():
    picture = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    said = PromptSet("two", ("a scratch on the {object}", "a hole in the {object}"), ("the {object}",))
    made = {
        name: Inspector(GOLDEN / "steervit.pth", **FILES, prompts=said, activation="logit", ensemble=name)
        for name in (None, "fused", "cascade")
    }
    exact, _, found = (one.inspect(picture, "plate").heatmap for one in made.values())
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.99
    assert len({one.settings.hash for one in made.values()}) == 3
    assert made["cascade"].asked.contrast == made[None].asked.contrast == 1
