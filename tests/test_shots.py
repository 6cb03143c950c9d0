"""Few-shot evaluation: which good images are drawn, and what is said of several draws."""

import json
import shutil
from statistics import mean, stdev

import drawn_datasets as drawn
import numpy as np
import pytest
from click.testing import CliRunner
from fake_inspector import FakeInspector

from anomaly.commands import options
from anomaly.commands.eval import eval_command
from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.labelled import TestImages
from anomaly.evaluation.sets import folder_test_sets
from anomaly.evaluation.shots import OverSeeds, draw
from anomaly.evaluation.summary import FEW_SHOT, MUTUAL, ZERO_SHOT, Summary
from anomaly.evaluation.tables import text
from anomaly.testsets.cards import load
from anomaly.testsets.layouts import mvtec


@pytest.fixture
def cup(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "data/cup")
    for seed in range(6):
        drawn.draw(folder / f"train/good/{seed}.png", None, seed=100 + seed)
    return folder


def test_references_are_drawn_by_content_and_seed(cup, tmp_path):
    (images,) = folder_test_sets(tmp_path / "data")
    chosen = [{p.read_bytes() for p in draw(images, 3, seed).references} for seed in range(8)]
    assert all(len(one) == 3 for one in chosen) and len(set(map(frozenset, chosen))) > 3
    good = cup / "train/good"
    for number, path in enumerate(sorted(good.iterdir(), reverse=True)):
        path.rename(good / f"renamed-{number}.png")
    shutil.copy(good / "renamed-0.png", good / "copy.png")
    (images,) = folder_test_sets(tmp_path / "data")
    assert [{p.read_bytes() for p in draw(images, 3, seed).references} for seed in range(8)] == chosen
    assert draw(images, 3, 0).samples == images.samples
    with pytest.raises(
        SteerAnomalyError, match="at least 7 different good images, found 6 outside the test set"
    ):
        draw(images, 7, 0)


def test_without_train_good_they_are_no_test_images_any_more(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "cup")
    shutil.rmtree(folder / "train", ignore_errors=True)
    images = TestImages("cup", "cup", mvtec(folder))
    found = draw(images, 1, 0)
    assert len(found.samples) == len(images.samples) - 1 and "serve as references" in found.note
    assert not {s.image for s in found.samples} & set(found.references)
    with pytest.raises(SteerAnomalyError, match="at least 3 different good images, found 2 in the test set"):
        draw(images, 2, 0)


class WithReferences(FakeInspector):
    """Brightness against the references' mean."""

    level = 0.0

    def with_references(self, references):
        other = WithReferences(name=self.name)
        other.level = float(np.mean([image.mean() for image in references.images]))
        return other

    def _inspect(self, image, object):
        found = super()._inspect(image, object)
        return type(found)(
            found.score - self.level,
            None,
            found.heatmap - self.level,
            found.mask,
            (),
            None,
            object,
            "fake",
            1.0,
        )


def test_mean_and_deviation_over_seeds_are_printed_and_kept(cup, tmp_path, monkeypatch):
    monkeypatch.setattr(options, "make_inspector", lambda **_: WithReferences())
    arguments = ["folder", "--root", str(tmp_path / "data"), "--shots", "2", "--seeds", "0,1,2"]
    result = CliRunner().invoke(eval_command, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "few-shot" in result.output and "±" in result.output and "seeds 0, 1, 2" in result.output
    each = [json.loads((tmp_path / f"out/seed-{seed}/metrics.json").read_text()) for seed in range(3)]
    values = [one["categories"]["cup"]["pixel_auroc"] for one in each]
    found = json.loads((tmp_path / "out/metrics.json").read_text())["categories"]["cup"]["pixel_auroc"]
    assert found["mean"] == pytest.approx(mean(values)) and found["deviation"] == pytest.approx(stdev(values))
    assert each[0]["setting"] == "few-shot" and "drawn by seed 0" in each[0]["settings"]["company"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--seeds", "0,1"], "give one of them too"),
        (["--shots", "2", "--seeds", "a"], "whole numbers"),
        (["--shots", "2", "--mutual", "on"], "two settings"),
        (["--shots", "2", "--references", "x"], "got both"),
    ],
)
def test_settings_are_not_mixed(cup, tmp_path, given, said):
    result = CliRunner().invoke(eval_command, ["folder", "--root", str(tmp_path / "data"), *given])
    assert result.exit_code == 2 and said in result.output


@pytest.mark.parametrize(
    ("setting", "there", "absent"),
    [
        (ZERO_SHOT, "WinCLIP", ("MuSc", "AnomalyDINO")),
        (MUTUAL, "MuSc DINOv2-B 336 px", ("WinCLIP", "AnomalyDINO")),
        (FEW_SHOT, "AnomalyDINO-S 672 px, 1 shot", ("WinCLIP", "MuSc")),
    ],
)
def test_published_figures_of_another_setting_are_never_set_beside_ours(result, setting, there, absent):
    printed = text(Summary("MVTec AD", "m", [result], [], load("mvtec"), setting=setting))
    assert there in printed and not any(name in printed for name in absent)
    assert (setting == ZERO_SHOT) == ("Setting:" not in printed)


@pytest.fixture
def result(cup, tmp_path):
    from anomaly.evaluation.run import Options, evaluate
    from steervit.processes import Processes

    (found,) = evaluate(
        FakeInspector(), "x", folder_test_sets(tmp_path / "data"), tmp_path / "r", Options(), Processes()
    )
    return found


def test_one_seed_has_no_deviation(result):
    found = OverSeeds((Summary("t", "m", [result], []),), (0,))
    assert found.figure("pixel_auroc", "cup") == (result.metrics["pixel_auroc"], 0.0)
