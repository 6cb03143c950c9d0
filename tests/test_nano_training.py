"""Training nano from rendered shards, at a size of seconds: cache, train, resume exactly, export, load."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from steervit import SteerViT
from steervit.training.feature_cache import SceneData, cache_shard
from steervit.training.nano import NanoRecipe, export, train_nano
from steervit.training.rendering.shards import render_shards
from steervit.training.targets import patch_fractions, pmass, presence_loss, segmentation_loss

TINY = NanoRecipe(
    image_size=64, width=16, depth=2, heads=2, cross_attn_layers=(1,), cross_attn_heads=2, cross_attn_head_dim=8,
    text_width=16, text_layers=1, text_heads=2, vocabulary=300, steps=6, batch=2, window=6, warmup=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    shard = render_shards(folder, 0, 6, size=64)[0]
    return SceneData.load([cache_shard(shard, folder)])


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_cached_scenes_keep_their_sentences_and_targets(data):
    assert data.features.shape == (6, 64, 80)
    assert len(data.texts) == len(data.targets) == len(data.kinds)
    assert (data.kinds[[indices[0] for indices in data.sentences_of()]] == "all").all()
    assert data.targets[data.kinds == "absent"].max() == 0


def test_training_resumes_where_it_stopped_bit_for_bit(data, tmp_path):
    train_nano(data, tmp_path / "whole", TINY, log_every=1, save_every=3)
    with pytest.raises(KeyboardInterrupt):
        stop_after(3, data, tmp_path / "cut")
    train_nano(data, tmp_path / "cut", TINY, log_every=1, save_every=3)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def stop_after(steps, data, folder):
    train_nano(data, folder, replace(TINY, steps=TINY.steps), log_every=1, save_every=3, stop_at=steps)
    raise KeyboardInterrupt


def test_an_exported_model_loads_and_gives_the_same_maps(data, tmp_path):
    model = train_nano(data, tmp_path / "run", TINY, log_every=1)
    image, texts = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), ["the crack"]
    expected = model.get_heatmaps(image, texts)
    export(model, tmp_path / "nano")
    loaded = SteerViT.from_pretrained(tmp_path / "nano")
    assert torch.allclose(loaded.get_heatmaps(image, texts), expected, atol=2e-4)  # kept in float16


def test_no_data_is_an_error():
    with pytest.raises(ValueError, match="none"):
        SceneData.load([])


def test_patch_fractions_and_losses_by_hand():
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :2] = 1
    mask[0, 0, 2] = 1
    fractions = patch_fractions(mask, 2)
    assert fractions.tolist() == [[1.0, 0.25, 0.0, 0.0]]
    logits = torch.zeros(1, 4)
    assert segmentation_loss(logits, fractions).item() == pytest.approx(np.log(4))
    assert segmentation_loss(logits, torch.zeros(1, 4)).item() == 0
    assert pmass(logits, fractions).item() == pytest.approx(0.5)
    assert pmass(logits, torch.zeros(1, 4)).isnan().all()
    assert presence_loss(logits, torch.zeros(1, 4)).item() == pytest.approx(np.log(2))
