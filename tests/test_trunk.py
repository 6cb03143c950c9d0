"""Every published trunk builds (random weights), and the sizes are the paper's."""

import pytest
import torch

from steervit.modeling.cross_attention import GatedCrossAttention
from steervit.modeling.trunk import build_trunk, load_trunk, without_pooling
from steervit.nano.trunk import nano_trunk
from steervit.weights.loading import build

LAYERS = [1, 3, 5, 7, 9, 11]


def vision(name, resolution, aggregation="cls", **more):
    return {
        "model_name": name,
        "resolution": resolution,
        "feature_aggregation": aggregation,
        "cross_attn_layers": LAYERS,
        **more,
    }


def parameters(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(("ffn", "expected"), [(None, 21_242_886), (2, 35_407_884)])
def test_six_layers_on_a_base_trunk_have_the_papers_size(ffn, expected):
    assert parameters(GatedCrossAttention(768, ffn_mult=ffn) for _ in LAYERS) == expected


@pytest.mark.parametrize(
    ("name", "resolution", "aggregation", "width"),
    [
        ("vit_small_patch14_dinov2.lvd142m", 336, "cls", 384),
        ("vit_base_patch14_dinov2.lvd142m", 336, "cls", 768),
        ("vit_large_patch14_dinov2.lvd142m", 336, "cls", 1024),
        ("vit_base_patch16_siglip_224.webli", 224, "mean", 768),
        ("vit_base_patch16_siglip_224.v2_webli", 224, "mean", 768),
        ("vit_base_patch16_224.mae", 224, "mean", 768),
    ],
)
@pytest.mark.parametrize("ffn", [False, True])
def test_published_trunks_build(name, resolution, aggregation, width, ffn):
    with torch.device("meta"):  # shapes only: the large one alone would be 1.2 GB
        model = build({"vision_encoder": vision(name, resolution, aggregation, use_ffn=ffn)}, None, 1024)
    assert model.feature_dim == width
    assert sorted(map(int, model.cross_attention)) == LAYERS
    assert all((layer.ff is not None) == ffn for layer in model.cross_attention.values())


@pytest.mark.parametrize("ffn", [False, True])
@pytest.mark.slow
def test_a_small_siglip_runs_and_pools_its_patches(ffn):
    config = vision("vit_base_patch16_siglip_224.webli", 224, "mean", use_ffn=ffn)
    model = build({"vision_encoder": config}, None, 16)
    del model.trunk.blocks[2:]
    without_pooling(model.trunk)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    tokens = model(image)
    assert tokens.shape == (1, 196, 768)
    assert torch.equal(model.get_global_features(image), tokens.mean(1))
    with pytest.raises(ValueError, match="CLS"):
        model.get_attention_heatmaps(image)


def test_cls_aggregation_needs_a_cls_token():
    with pytest.raises(ValueError, match="feature_aggregation"):
        build({"vision_encoder": vision("vit_base_patch16_siglip_224.webli", 224, "cls")}, None, 16)


def test_unknown_and_unfit_trunks_are_named():
    with pytest.raises(ValueError, match="no_such_model"):
        build_trunk(vision("no_such_model", 224))


def test_a_trunk_of_another_size_is_refused(tmp_path):
    path = tmp_path / "trunk.pth"
    torch.save({"cls_token": torch.zeros(1, 1, 96)}, path)
    with pytest.raises(ValueError, match=r"are missing"):
        load_trunk(nano_trunk(64), path)


def test_position_embeddings_are_resampled_to_the_models_size(tmp_path):
    path = tmp_path / "trunk.pth"
    small, large = build_trunk(vision("test_vit", 160)), build_trunk(vision("test_vit", 320))
    torch.save(small.state_dict(), path)
    load_trunk(large, path)
    assert large.pos_embed.shape == (1, 401, 64)
    assert torch.equal(large.blocks[0].attn.qkv.weight, small.blocks[0].attn.qkv.weight)


def test_an_untrained_layer_changes_nothing():
    layer = GatedCrossAttention(32, heads=2, head_dim=8, ffn_mult=2)
    x, text = torch.randn(2, 5, 32), torch.randn(2, 3, 32)
    assert torch.equal(layer(x, text, torch.ones(2, 3, dtype=torch.bool)), x)


def test_padding_tokens_have_no_influence():
    torch.manual_seed(0)
    layer = GatedCrossAttention(32, heads=2, head_dim=8, ffn_mult=2)
    torch.nn.init.ones_(layer.attn_gate)
    torch.nn.init.ones_(layer.ff_gate)
    x, text = torch.randn(1, 5, 32), torch.randn(1, 4, 32)
    mask = torch.tensor([[True, True, False, False]])
    expected = layer(x, text[:, :2], mask[:, :2])
    assert torch.allclose(layer(x, text, mask), expected, atol=1e-6)
    assert torch.allclose(layer.forward_folded(x, layer.fold(text, mask)), expected, atol=1e-6)
