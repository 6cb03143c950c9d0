"""`eval --method`: the same protocol and tables, the method's name and setting in everything that is written."""

import json

import drawn_contrastive
import drawn_datasets as datasets
import drawn_steerability as drawn
import pytest
from click.testing import CliRunner
from test_steerability_command import MODEL

from anomaly.cli import main


def run(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def parts(tmp_path):
    """A folder with a test set and four good pictures beside it."""
    folder = datasets.mvtec_category(tmp_path / "parts" / "screw")
    for i in range(4):
        datasets.draw(folder / f"train/good/{i:03}.png", None, (7, i))
    return folder.parent


@pytest.mark.slow
def test_a_baseline_stands_in_the_same_table_under_its_name(parts, tmp_path):
    out = tmp_path / "out"
    screen = run("eval", "folder", "--root", parts, "--method", "mahalanobis", "--out", out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert (
        "model mahalanobis, baseline mahalanobis, zero-shot" in screen and metrics["model"] == "mahalanobis"
    )
    assert metrics["setting"] == "zero-shot" and metrics["settings"]["method"] == "mahalanobis"
    assert (
        0 <= metrics["categories"]["screw"]["pro"] <= 1 and "mahalanobis" in (out / "report.html").read_text()
    )
    assert "with other settings" in run(
        "eval", "folder", "--root", parts, "--method", "median-colour", "--out", out, code=2
    )


@pytest.mark.slow
def test_methods_with_good_pictures_say_which_setting_it_is(parts, tmp_path):
    words = ("eval", "folder", "--root", parts, "--method", "patchcore", *MODEL, "--out")
    screen = run(*words, tmp_path / "full")
    assert (
        "full-shot, uses all good training pictures" in screen
        and "not to be compared with zero-shot" in screen
    )
    assert json.loads((tmp_path / "full/metrics.json").read_text())["setting"] == "full-shot"
    good = parts / "screw/train/good"
    run(*words, tmp_path / "given", "--references", good)
    given = json.loads((tmp_path / "given/metrics.json").read_text())
    assert given["setting"] == "few-shot" and given["model"] == "patchcore on steervit"
    assert given["settings"]["company"].startswith("4 references")
    for path in good.iterdir():
        path.unlink()
    assert "expected good pictures outside the test set" in run(*words, tmp_path / "none", code=2)


def test_options_that_say_nothing_to_a_method_are_refused(parts):
    words = ("eval", "folder", "--root", parts, "--method", "median-colour")
    for option in (("--scales", "1,2"), ("--omega", "0.5"), ("--mutual", "on"), ("--threshold", "1")):
        assert f"{option[0]} says nothing to the method" in run(*words, *option, code=2)
    assert "a --method gives none" in run(*words, "--calibrate", 10, code=2)
    assert "compares with no good pictures" in run(*words, "--shots", 2, code=2)
    assert "did you mean" in run("eval", "folder", "--root", parts, "--method", "median-color", code=2)
    assert "median-colour" in run("eval", "--help")


@pytest.mark.slow
def test_steered_benchmarks_take_baselines_too(tmp_path):
    root = drawn.core(tmp_path / "data", scenes=("desk",))
    clip = drawn_contrastive.clip(tmp_path / "clip")

    def core(out, *words, code=0):
        return run(
            "eval", "core", "--root", root, "--out", tmp_path / out, "--device", "cpu", *words, code=code
        )

    screen = core("clip", "--method", "clip", "--model", clip, "--prompts", "none")
    assert "clip, clip (this run)" in screen and "43.7" in screen
    assert "not touched by text: --prompts none" in core("no", "--method", "clip", "--model", clip, code=2)
    assert "--omega says nothing" in core("no", "--method", "clip", "--model", clip, "--omega", "0.5", code=2)
    assert "median-colour" in core("no", "--method", "median-colour", code=2)
    for name, model in (("late-fusion", MODEL), ("text-pooling", ("--model", clip))):
        results = json.loads(
            (core(name, "--method", name, *model) and tmp_path / name / "results.json").read_text()
        )
        assert results["per_scene"]["desk"]["mug"]["prompt"] == "the mug on the desk"
    plain, none = (
        core(out, "--method", "late-fusion", *MODEL, *words)
        for out, words in (("w0", ("--omega", 0)), ("unsteered", ("--prompts", "none")))
    )
    assert plain and none
    same = [
        json.loads((tmp_path / out / "results.json").read_text())["global"] for out in ("w0", "unsteered")
    ]
    assert same[0] == same[1]


@pytest.mark.slow
def test_maps_of_baselines_where_a_benchmark_asks_for_them(tmp_path):
    root, clip = drawn.voc(tmp_path / "v"), drawn_contrastive.clip(tmp_path / "clip")
    words = ("eval", "mosaic", "--root", root, "--model", clip, "--device", "cpu", "--out")
    run(*words, tmp_path / "a", "--method", "text-pooling")
    results = json.loads((tmp_path / "a/results.json").read_text())
    assert 0 < results["global"]["pr_auc"] < 1
    assert "attends to patches" in run(*words, tmp_path / "b", "--method", "maskclip", code=2)
