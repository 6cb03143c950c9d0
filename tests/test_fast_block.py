"""A block in fewer passes gives what timm's gives: pieces of attention, layer scale, other activations, training."""

import pytest
import timm
import torch
from torch import nn

from steervit.inference import onednn
from steervit.inference.fast_block import run_block
from steervit.inference.onednn import attention, feed_forward, linear


def block(**options):
    torch.manual_seed(0)
    model = timm.models.vision_transformer.Block(dim=48, num_heads=3, qkv_bias=True, **options).eval()
    for one in model.parameters():
        nn.init.normal_(one, std=0.3)
    return model


def tokens(count=37, batch=2):
    return torch.randn(batch, count, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options", [{}, {"init_values": 0.1}, {"act_layer": nn.ReLU}, {"qk_norm": True, "scale_mlp_norm": True}]
)
@pytest.mark.parametrize("scores", [100, 37 * 10, 10**6])
def test_a_fast_block_gives_what_the_block_gives(options, scores, monkeypatch):
    monkeypatch.setattr(onednn, "SCORES", scores)
    model = block(**options)
    with torch.inference_mode():
        assert torch.allclose(run_block(model, tokens()), model(tokens()), atol=1e-4)


def test_in_bfloat16_too():
    model = block().bfloat16()
    with torch.inference_mode():
        found, expected = run_block(model, tokens().bfloat16()), model(tokens().bfloat16())
    assert (found - expected).float().abs().mean() < 0.02 * expected.float().abs().mean()


def test_attention_agrees_with_the_formula():
    q, k, v = torch.randn(3, 2, 3, 11, 8, generator=torch.Generator().manual_seed(2))
    expected = (0.3 * q.double() @ k.double().transpose(2, 3)).softmax(-1) @ v.double()
    with torch.no_grad():
        assert torch.allclose(attention(q, k, v, 0.3).double(), expected.transpose(1, 2), atol=1e-5)


def test_products_are_the_plain_ones_with_and_without_gradients():
    torch.manual_seed(0)
    first, second, x = nn.Linear(48, 20), nn.Linear(20, 48, bias=False), tokens()
    with torch.no_grad():
        quick = linear(x, first), feed_forward(x, first, second)
    plain = first(x), second(nn.functional.gelu(first(x)))
    for found, expected in zip(quick, plain, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
    feed_forward(x, first, second).sum().backward()
    assert first.weight.grad is not None


def test_a_training_run_in_bfloat16_can_validate():
    """float32 tokens and weights under autocast, without gradients: as `train.precision: bf16` has it on a CPU."""
    torch.manual_seed(0)
    first, second, x = nn.Linear(48, 20), nn.Linear(20, 48), tokens()
    with torch.no_grad():
        plain = second(nn.functional.gelu(first(x)))
        with torch.autocast("cpu", torch.bfloat16):
            found = feed_forward(x, first, second)
    assert (found.float() - plain).abs().max() < 0.05
