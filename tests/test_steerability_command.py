import json
from pathlib import Path

import click
import drawn_representations as representations
import drawn_steerability as drawn
import pytest
import training_miniatures as training
from click.testing import CliRunner

from anomaly.cli import main
from anomaly.commands.steered_run import read_omegas

GOLDEN = Path(__file__).parent / "golden" / "steervit"
MODEL = ("--model", GOLDEN / "steervit.pth", "--trunk", GOLDEN / "trunk.safetensors",
         "--text-encoder", GOLDEN / "tiny-roberta", "--device", "cpu")  # fmt: skip


def run(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def evaluate(name, root, out, *more):
    output = run("eval", name, "--root", root, "--out", out, *MODEL, *more)
    return output, json.loads((out / "results.json").read_text()), json.loads((out / "run.json").read_text())


@pytest.mark.slow
def test_core_writes_the_official_form_beside_the_papers_figures_and_goes_on(tmp_path):
    root, out = drawn.core(tmp_path / "data"), tmp_path / "out"
    screen, results, about = evaluate("core", root, out)
    assert set(results) == {"global", "per_scene"} and set(results["global"]) == {"precision@1", "n_queries"}
    assert "96.0" in screen and "43.7" in screen and "steervit (this run)" in screen
    assert about["benchmark"] == "core" and about["settings"]["omega"] == 1 and about["settings"]["hashes"]
    assert about["finished"] is True and about["settings"]["method"] == "steervit"
    assert "NOT THE FULL BENCHMARK: expected 500 pictures" in screen and about["full_benchmark"] is False
    kept = sorted(out.rglob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in kept]
    assert evaluate("core", root, out)[1] == results
    assert [path.stat().st_mtime_ns for path in sorted(out.rglob("*.safetensors"))] == before


def test_core_with_wrong_prompts_and_without(tmp_path):
    root = drawn.core(tmp_path / "data")
    wrong = evaluate("core", root, tmp_path / "a", "--random-prompts")[1]
    assert wrong["per_scene"]["desk"]["mug"]["prompt"] == "the key on the desk"
    none = evaluate("core", root, tmp_path / "b", "--prompts", "none")[1]
    assert none["per_scene"]["desk"]["mug"]["prompt"] is None
    output = run("eval", "core", "--root", root, "--random-prompts", "--prompts", "none", code=2)
    assert "got both" in output


def test_eval_help_lists_them_and_each_has_its_own():
    assert "core" in (text := run("eval", "--help")) and "steered by text" in text
    assert "--random-prompts" in run("eval", "core", "--help") and "--pro-limit" in run(
        "eval", "mvtec", "--help"
    )
    assert "expected the benchmark first" in run("eval", "--root", "x", "core", code=2)


def test_datasets_knows_them(tmp_path):
    assert "features steered by text" in run("datasets", "list")
    assert "96.0" in run("datasets", "info", "core")
    output = run("datasets", "check", drawn.core(tmp_path), "--as", "core", code=1)
    assert "expected 6 scenes, found 2" in output
    place = representations.imagewoof(tmp_path / "probe")
    assert "waterbirds is missing" in run("datasets", "check", place, "--as", "probe", code=1)
    assert "55.4" in run("datasets", "info", "ade20k") and "70.6" in run("datasets", "info", "refcocog")


@pytest.mark.slow
def test_genecis_pods_and_mosaic_with_a_real_model(tmp_path):
    screen, results, _ = evaluate("genecis", drawn.genecis(tmp_path / "g", 2), tmp_path / "out-g")
    assert results["global"]["questions"] == 2 and "25.4" in screen
    screen, results, _ = evaluate("pods", drawn.pods(tmp_path / "p"), tmp_path / "out-p")
    assert results["global"]["objects"] == 3 and "58.1" in screen
    assert "with other settings" in run(
        "eval",
        "pods",
        "--root",
        tmp_path / "p",
        "--out",
        tmp_path / "out-p",
        *MODEL,
        "--prompts",
        "none",
        code=2,
    )
    screen, results, about = evaluate(
        "mosaic", drawn.voc(tmp_path / "v"), tmp_path / "out-v", "--prompts", "none"
    )
    assert (
        results["global"]["queries"] == 4 and "50.2" in screen and "own draw" in about["settings"]["setting"]
    )


def test_a_sentence_needs_a_place_for_the_object(tmp_path):
    root = drawn.voc(tmp_path / "v")
    assert "expected {object} in --template" in run(
        "eval", "mosaic", "--root", root, "--template", "x", code=2
    )
    assert "expected CORE's test*.parquet" in run("eval", "core", "--root", tmp_path, code=2)


@pytest.mark.slow
def test_the_probe_over_omega_is_drawn_as_a_curve(tmp_path):
    root = representations.probe(tmp_path / "data")
    words = ("--omega", "0,0.5,...,1", "--epochs", 2)
    screen, results, about = evaluate("probe", root, tmp_path / "out", *words)
    assert list(results["per_omega"]) == ["0", "0.5", "1"] and about["settings"]["omega"] == [0, 0.5, 1]
    one = results["per_omega"]["0.5"]["global"]
    assert 0 <= one["accuracy"] <= 1 and "waterbirds_worst_group" in one
    assert screen.count("(this run)") == 3 and "87.7" in screen and "89.0" in screen
    assert (tmp_path / "out/curve.png").read_bytes().startswith(b"\x89PNG")
    assert about["settings"]["optimiser"] == "adam"


@pytest.mark.parametrize(
    ("text", "found"),
    [("1", (1.0,)), ("0.5, 0", (0.0, 0.5)), ("0,0.2,...,1", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))],
)
def test_omegas(text, found):
    assert read_omegas(text) == found


@pytest.mark.parametrize(
    "text", ["", "x", "0,...,1", "0,0.3,...,1", "1,0.5,...,0", "0,0,...,1", "0,1,...,1,2"]
)
def test_omegas_that_make_no_sense(text):
    with pytest.raises(click.BadParameter, match="expected numbers such as"):
        read_omegas(text)


@pytest.mark.slow
def test_ade20k_and_refcocog_with_a_real_model(tmp_path):
    root = representations.ade20k(tmp_path / "ade")
    screen, results, about = evaluate("ade20k", root, tmp_path / "out-b", "--no-augment", "--memory", 40)
    assert results["global"]["classes"] == 3 and "55.4" in screen and about["settings"]["task"] == "binary"
    _, results, _ = evaluate("ade20k", root, tmp_path / "out-c", "--task", "classes", "--std-typo")
    assert 0 <= results["global"]["miou"] <= results["global"]["miou_matched"] <= 1
    root = training.refcoco(tmp_path / "ref", "refcocog", "umd")
    screen, results, about = evaluate("refcocog", root, tmp_path / "out-r", "--split", "validation")
    assert results["global"]["sentences"] == 1 and "70.6" in screen
    assert "expected 4896 sentences" in screen and not about["full_benchmark"]
