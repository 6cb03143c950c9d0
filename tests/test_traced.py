"""A SteerViT as graphs: trunks without a class token, early fusion with feed-forward networks, by ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly.bundle.runtimes import open_graph
from steervit.inference.ensemble import PromptBank
from steervit.inference.onnx_file import write_onnx
from steervit.inference.traced import PatchGraph, PromptGraph
from steervit.modeling.trunk import without_pooling
from steervit.weights.loading import build


def two_blocks(name: str, resolution: int = 64):
    """The published architecture with random weights, cut to two blocks, steered before both, gates open."""
    torch.manual_seed(0)
    vision = {
        "model_name": name, "resolution": resolution, "feature_aggregation": "mean", "cross_attn_layers": [0, 1],
        "cross_attn_heads": 2, "cross_attn_head_dim": 8, "use_ffn": True,
    }  # fmt: skip
    model = build({"vision_encoder": vision, "text_encoder": "none"}, None, text_dim=16)
    without_pooling(model.trunk)
    model.trunk.blocks = model.trunk.blocks[:2]
    for layer in model.cross_attention.values():
        torch.nn.init.constant_(layer.attn_gate, 0.5)
        torch.nn.init.constant_(layer.ff_gate, 0.5)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return model.eval().requires_grad_(False)


@pytest.mark.slow
# Also tried, and left out for their time: vit_base_patch16_224.mae, vit_base_patch16_siglip_224.v2_webli, and
# vit_large_patch14_dinov2.lvd142m at 112 px.
@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224.webli"])
def test_a_trunk_of_another_kind_gives_the_same_logits(name, tmp_path):
    model = two_blocks(name)
    model.cross_attention = torch.nn.ModuleDict({i: model.cross_attention[i] for i in ("0", "1")})
    text, mask = torch.randn(3, 4, model.feature_dim), torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2:] = False
    layers = {int(i): layer.fold(text, mask) for i, layer in model.cross_attention.items()}
    bank = PromptBank(("a", "b", "c"), layers)
    tiles = torch.randint(0, 255, (3, *model.image_size, 3), dtype=torch.uint8)
    look, steer = PatchGraph(model, (0.5,) * 3, (0.5,) * 3), PromptGraph(model, bank)
    with torch.inference_mode():
        entering = look(tiles)
        expected = model.segment(look.pixels(tiles), bank).logits.numpy()
    write_onnx(look, tiles[:2], tmp_path / "look.onnx", ["tiles"], ["tokens"])
    write_onnx(steer, entering[:2].clone(), tmp_path / "steer.onnx", ["tokens"], ["logits", "patches"])
    got = open_graph(tmp_path / "look.onnx", "onnx", "fp32", 1)(tiles.numpy())[0]
    logits = open_graph(tmp_path / "steer.onnx", "onnx", "fp32", 1)(got)[0]
    assert np.abs(logits - expected).max() < 1e-4
    assert expected.std() > 1e-3


class Peaks(torch.nn.Module):
    """Maxima over windows that overlap: nano's, at sizes that its grid does not divide."""

    def forward(self, x):
        return torch.nn.functional.adaptive_max_pool2d(x, (4, 43))


@pytest.mark.slow
def test_maxima_over_uneven_windows_are_the_same_numbers(tmp_path):
    x = torch.randn(3, 2, 10, 64, generator=torch.Generator().manual_seed(0))
    write_onnx(Peaks(), x[:2].clone(), tmp_path / "peaks.onnx", ["x"], ["y"])
    (got,) = open_graph(tmp_path / "peaks.onnx", "onnx", "fp32", 1)(x.numpy())
    assert np.array_equal(got, Peaks()(x).numpy())
