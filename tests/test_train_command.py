"""`steer-anomaly train` as a user meets it: dry run, a short smoke run on rendered scenes, going on, plots."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from drawn_supply import TRAIN

from anomaly.cli import Tool
from anomaly.commands.train import train

SHORT = {
    "train.steps": 180, "train.batch": 16, "train.validate_every": 180, "train.validate_samples": 60,
    "train.save_every": 90, "train.log_every": 5, "train.pictures_every": 180, "train.pictures": 2,
    "train.schedule": "{peak: 5e-3, floor: 5e-4, warmup: 10, cosine_until: 180}", "train.averaging": 0.95,
    "data.sources.rendered.size": 64, "data.sources.rendered.scenes": 700, "data.workers": 0,
    "data.windows.side": 8, "model.resolution": 64,
    "model.text_sizes": "{width: 24, layers: 1, heads: 2, vocabulary: 400, sentences: 600}",
    "model.trunk_sizes": "{patch_size: 8, width: 32, depth: 3, heads: 2}", "model.cross_attn_layers": "[1, 2]",
}  # fmt: skip


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawn_once")]


def call(*arguments):
    tool = Tool("steer-anomaly", commands={"train": train})
    return CliRunner().invoke(tool, ["train", *map(str, arguments)])


def short(**more):
    settings = {**SHORT, **{key.replace("__", "."): value for key, value in more.items()}}
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def losses(out):
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "smoke"
    done = call("smoke", "--out", out, *short())
    assert done.exit_code == 0, done.output
    return out, done


def test_a_shortened_smoke_triples_pmass_and_says_where_the_model_is(smoke):
    # As the recipe promises, on smaller images, with a smaller model and in fewer steps.
    out, done = smoke
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    masses = [line["validation"]["all"] for line in lines if "validation" in line]
    assert masses[-1] >= 3 * masses[0], masses
    assert f"Model: {out / 'best'}" in done.output
    assert "180 steps, best pmass" in done.output


def test_smoke_goes_on_exactly_where_it_stopped(tmp_path):
    few = {"train__batch": 4, "train__validate_samples": 4, "train__pictures": 0, "train__log_every": 2}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert call("smoke", "--out", whole, *short(**few, train__steps=10)).exit_code == 0
    assert call("smoke", "--out", cut, *short(**few, train__steps=6)).exit_code == 0
    refused = call("smoke", "--out", cut, *short(**few, train__steps=10))
    assert refused.exit_code == 2
    assert "resume it, or choose another folder" in refused.output
    done = call("smoke", "--out", cut, "--resume", *short(**few, train__steps=10))
    assert done.exit_code == 0, done.output
    assert "going on from step 6" in done.output
    assert losses(cut) == losses(whole)
    assert sorted(losses(whole)) == [2, 4, 6, 8, 10]


def test_the_models_output_runs_in_inspect(smoke, tmp_path):
    from anomaly.commands.inspect import inspect

    cv2.imwrite(str(tmp_path / "part.png"), np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8))
    done = CliRunner().invoke(
        inspect,
        [str(tmp_path / "part.png"), "--object", "part", "--model", str(smoke[0] / "best"),
         "--out", str(tmp_path / "out"), "--threshold", "0.5"],
    )  # fmt: skip
    assert done.exit_code in (0, 1), done.output
    assert list((tmp_path / "out").rglob("report.html"))


def test_plot_draws_the_curves(smoke, tmp_path):
    done = call("plot", smoke[0], "--out", tmp_path / "c.png")
    assert done.exit_code == 0, done.output
    assert cv2.imread(str(tmp_path / "c.png")).shape[1] > 800
    assert call("plot", tmp_path).exit_code == 2


def test_a_dry_run_says_everything_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("smoke", "--dry-run", "--device", "cpu")
    assert done.exit_code == 0, done.output
    for word in ("cross_attn_heads: 3", "trainable ", "frozen        0", "rendered: 2,000 scenes", "epochs",
                 "steps         800 of 16 images", "hours here"):  # fmt: skip
        assert word in done.output, word
    assert not list(tmp_path.iterdir())


def test_a_dry_run_without_the_data_still_counts_the_rest():
    done = call("steervit-dinov2-base", "--dry-run", "--device", "cpu", "--set",
                "data.sources={refcoco: {root: /nowhere}}")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "trainable     23,080,455 parameters" in done.output
    assert "data          cannot be counted: source 'refcoco'" in done.output
    assert "84 on 1 x H100" in done.output


def test_list_names_every_recipe():
    done = call("list")
    assert done.exit_code == 0
    assert {line.split()[0] for line in done.output.splitlines()} == {p.stem for p in TRAIN.glob("*.yaml")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smoke", "--set", "train.stepz=1"], "did you mean steps"),
        (["smok"], "did you mean smoke"),
        (["smoke", "--set", "train.batch=0"], "expected train.batch to be at least 1, got 0"),
        (["smoke", "--set", "train.averaging=1"], "train.averaging to be below 1"),
        (["smoke", "--set", "data.windows.side=0"], "data.windows.side to be at least 1"),
        (["smoke", "--resume", "--out", "nowhere"], "nothing to go on from"),
    ],
)
def test_mistakes_end_with_2_and_a_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output


def test_help_shows_recipes_and_commands():
    done = call("--help")
    assert done.exit_code == 0
    for word in ("RECIPE", "--set KEY=VALUE", "--dry-run", "list", "plot", "masks"):
        assert word in done.output


def test_the_command_module_is_light():
    import subprocess
    import sys

    code = "import sys, anomaly.commands.train; print([m for m in ('torch', 'cv2', 'numpy') if m in sys.modules])"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
