"""What makes pictures comparable: nano's eyes, or the model's own tokens with the final norm."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly import Inspector
from anomaly.evidence.describers import EyesDescriber, TokenDescriber
from anomaly.evidence.descriptions import content_hash
from steervit import SteerViT
from steervit.nano import eyes

GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {"trunk": GOLDEN / "trunk.safetensors", "text_encoder": GOLDEN / "tiny-roberta"}


def picture(seed=0, height=70, width=90):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_eyes_say_how_they_see():
    assert f"{eyes.SIZE} px" in EyesDescriber.name
    found = EyesDescriber()(picture())
    assert found.grid == (eyes.SIZE // eyes.GRID_STRIDE,) * 2
    assert found.channels == eyes.CHANNELS
    assert found.content == content_hash(picture())


def test_tokens_are_normed_averaged_and_unit_vectors_from_one_pass(monkeypatch):
    model, passes = SteerViT.from_pretrained(GOLDEN / "steervit.pth", **FILES), []
    encode = model.encode
    monkeypatch.setattr(
        model, "encode", lambda *args, **more: passes.append(more["blocks"]) or encode(*args, **more)
    )
    pixels = torch.rand(1, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    found = TokenDescriber(lambda: model, lambda _: pixels)(picture())
    assert passes == [[1, 2, 3, 5]] or passes == [
        [1, 2, 4, 5]
    ]  # a quarter, half, three quarters and all of six
    assert found.grid == model.grid_size
    assert np.allclose(np.linalg.norm(found.patches, axis=-1), 1, atol=1e-5)
    last = encode(pixels).tokens[0, model.trunk.num_prefix_tokens :]  # after the final norm
    normed = torch.nn.functional.layer_norm(
        last.T.reshape(1, -1, *model.grid_size), (last.shape[1], *model.grid_size)
    )
    means = [torch.nn.functional.avg_pool2d(normed, r, 1, r // 2)[0].flatten(1).T for r in (1, 3, 5)]
    unit = torch.nn.functional.normalize(sum(torch.nn.functional.normalize(m, dim=-1) for m in means), dim=-1)
    ours = found.patches.reshape(len(unit), 4, -1)[:, 3] * 2  # four layers, each of length a half
    assert np.allclose(ours, unit.numpy(), atol=1e-4)


@pytest.mark.slow
def test_published_models_compare_pictures_by_their_own_tokens():
    inspector = Inspector(GOLDEN / "steervit.pth", **FILES, mutual=True)
    assert inspector.settings.company.endswith(TokenDescriber.name)
    found = inspector.inspect_set([picture(seed) for seed in range(5)], "bottle")
    assert all(np.isfinite(one.score) for one in found)
    assert set(found[0].parts) == {"text", "company"}
