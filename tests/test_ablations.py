"""The paper's ablations as parts of the model: linear projector, late fusion, no gates."""

from pathlib import Path

import pytest
import torch

from steervit import SteerViT
from steervit.modeling.text import TextEncoder
from steervit.weights.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_pth,
    write_safetensors,
)
from steervit.weights.loading import build, load_trained, trained_state

TEXT = Path(__file__).parent / "golden" / "steervit" / "tiny-roberta"


def tiny(layers=(1, 3), connector="mlp", **vision) -> SteerViT:
    torch.manual_seed(0)
    config = {
        "vision_encoder": {
            "model_name": "steervit_nano",
            "resolution": 32,
            "trunk": {"patch_size": 8, "width": 16, "depth": 4, "heads": 2},
            "cross_attn_layers": list(layers),
            "cross_attn_heads": 2,
            "cross_attn_head_dim": 8,
            **vision,
        },
        "text_encoder": "text",
        "connector": connector,
    }
    model = build(config, TextEncoder.from_folder(TEXT))
    for layer in model.cross_attention.values():
        if layer.gated:
            torch.nn.init.constant_(layer.attn_gate, 0.7)
    torch.nn.init.normal_(model.head.weight)
    return model.eval().requires_grad_(False)


LATE = {"layers": (4, 5), "fusion": "late"}


@pytest.mark.parametrize("options", [LATE, {"connector": "linear"}, {"cross_attn_gated": False}])
def test_an_ensemble_equals_single_calls_and_omega_zero_is_the_trunk(options):
    model = tiny(**options)
    images = torch.rand(2, 3, 32, 32)
    bank = model.prepare(["the scratch", "a blue cup on the left"])
    together = model.segment(images, bank, max_tokens=20).logits
    for i, text in enumerate(bank.texts):
        alone = model(images, [text] * 2, return_segmentation_logits=True)
        assert (together[:, i].flatten(1) - alone).abs().max() < 1e-5 * max(1.0, alone.abs().max().item())
    assert (together[:, 0] - together[:, 1]).abs().max() > 1e-4
    model.set_gate_factor(0)
    assert torch.equal(model(images, ["the scratch"] * 2), model(images))
    assert torch.allclose(model.segment(images, bank).logits[:, 0], model.segment(images, bank).logits[:, 1])


@pytest.mark.parametrize("options", [LATE, {"connector": "linear"}, {"cross_attn_gated": False}])
@pytest.mark.parametrize("write", [write_safetensors, write_pth])
def test_an_ablation_comes_back_from_its_file(options, write, tmp_path):
    model = tiny(**options)
    path = write(
        tmp_path / ("x.pth" if write is write_pth else "x"), Checkpoint(model.config, trained_state(model))
    )
    again = tiny(**options)
    torch.nn.init.zeros_(again.head.weight)
    load_trained(again, read_checkpoint(path))
    images, texts = torch.rand(1, 3, 32, 32), ["a dent"]
    assert torch.equal(again(images, texts, True), model(images, texts, True))


def test_late_fusion_leaves_the_blocks_alone():
    model = tiny(**LATE)
    images = torch.rand(1, 3, 32, 32)
    steered, plain = model.encode(images, ["a dent"], blocks=[3]), model.encode(images, blocks=[3])
    assert torch.equal(steered.blocks[3], plain.blocks[3])
    assert not torch.equal(steered.tokens, plain.tokens)


def test_late_fusion_refuses_layers_before_the_last_block():
    with pytest.raises(ValueError, match="4 and more for late fusion"):
        tiny(layers=(1, 4), fusion="late")


def test_a_linear_connector_has_one_layer_and_an_mlp_without_its_second_is_refused(tmp_path):
    model = tiny(connector="linear")
    assert [name for name, _ in model.connector.named_parameters()] == ["mlp.0.weight", "mlp.0.bias"]
    path = write_pth(
        tmp_path / "x.pth", Checkpoint({**model.config, "connector": "mlp"}, trained_state(model))
    )
    with pytest.raises(CheckpointError, match=r"connector\.mlp\.2"):
        read_checkpoint(path)
