"""Training on miniature copies of every source's files together, and on scenes drawn meanwhile."""

import pytest
import torch
import training_miniatures as draw
from drawn_supply import small_recipe

from steervit import SteerViT
from steervit.training import run
from steervit.training.logs import read_metrics

pytestmark = pytest.mark.slow


def test_all_sources_train_together(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    sources = draw.every_source(tmp_path / "data")
    lvis = tmp_path / "data" / "lvis" / "annotations"
    (lvis / "lvis_v1_val.json").write_bytes((lvis / "lvis_v1_train.json").read_bytes())
    draw.visual_genome(tmp_path / "data" / "vg", photographs=12)
    sources["visual_genome"]["validation_share"] = 0.4
    sources["rendered"] = {"size": 64, "scenes": 20, "sentences_per_scene": 2}
    sources = {name: {**how, "weight": 2 if name == "lvis" else 1} for name, how in sources.items()}
    steps = ["train.steps=6", "train.batch=8", "train.validate_every=6", "train.validate_samples=3",
             "train.pictures=3", "model.head_init_std=0.1", "model.gate_init=0.2"]  # fmt: skip
    recipe = small_recipe("steervit-dinov2-base", f"data.sources={sources}", *steps)
    words = []
    outcome = run.train(recipe, tmp_path / "run", device="cpu", say=words.append)
    torch.set_num_threads(before)
    assert outcome.step == 6 and outcome.last == pytest.approx(outcome.best)
    for name in ("refcoco", "lvis", "visual_genome", "mapillary", "prepared"):
        assert any(text.startswith(f"{name}") and "images" in text for text in words), (name, words)
    lines = read_metrics(tmp_path / "run")
    seen = next(line["validation"] for line in lines if line["step"] == 6 and "validation" in line)
    assert len(set(seen) - {"all"}) >= 5
    assert all(0 <= value <= 1 for value in seen.values())
    assert (tmp_path / "run" / "pictures" / "step-00000006.png").exists()
    assert SteerViT.from_pretrained(tmp_path / "run" / "last").name == recipe.name
