"""`steer-anomaly vectors` from the command line, with nano and with tiny multimodal models of the real classes."""

import json

import cv2
import drawn_multimodal as drawn
import numpy as np
import pytest
from click.testing import CliRunner
from test_multimodal import write_bench

from anomaly.cli import main
from steervit.inference.vectors import load_vector

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def run(tmp_path):
    def call(*arguments, code=0):
        result = CliRunner().invoke(main, ["vectors", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result.output

    return call


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "img"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        cv2.imwrite(str(folder / f"{name}.png"), draw.integers(0, 256, (64, 64, 3), np.uint8))
    return folder


def save_text_model(folder):
    model, read = drawn.gemma(drawn.WORDS), drawn.tokenizer()
    model.save_pretrained(folder)
    read.save_pretrained(folder)


@pytest.mark.slow
def test_a_vector_of_nano_is_made_shown_and_applied(run, pictures, tmp_path):
    file = tmp_path / "cup.safetensors"
    assert "the anomaly in the cup" in run(
        "extract", "--model", "nano", "--object", "cup", "--out", file, pictures
    )
    vector = load_vector(file)
    assert vector.provenance["control"] == "the cup" and vector.provenance["pictures"] == 2
    shown = json.loads(run("show", "--json", file))
    assert shown["provenance"]["method"] == "shift" and all(one > 0 for one in shown["length"].values())
    out = run(
        "apply", "--model", "nano", "--vector", file, "--alpha", 2, "--out", tmp_path / "maps", pictures
    )
    assert "highest" in out and (tmp_path / "maps" / "a.png").is_file()


@pytest.mark.slow
def test_from_sentences_over_the_grid_to_an_answer(run, pictures, tmp_path):
    save_text_model(tmp_path / "gemma")
    concept = tmp_path / "which.yaml"
    concept.write_text(
        "pairs:\n  - {sentence: 'the A is it', target: A}\n  - {sentence: 'what is B', target: B}\n"
    )
    file = tmp_path / "which.safetensors"
    run(
        "extract",
        "--language-model",
        tmp_path / "gemma",
        "--concept",
        concept,
        "--layers",
        "1,2",
        "--out",
        file,
    )
    assert sorted(load_vector(file).layers) == [1, 2]
    model, _ = drawn.turnable()
    model.save_pretrained(tmp_path / "pali")
    drawn.processor().save_pretrained(tmp_path / "pali")
    write_bench(tmp_path / "bench", 6)
    said = run(
        "grid", "--model", tmp_path / "pali", "--vector", file, "--data", tmp_path / "bench", "--task", "Count",
        "--alphas", "1", "--test", 3, "--out", tmp_path / "grid",
    )  # fmt: skip
    assert "Count: test" in said
    found = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert len(found["cells"]) == 3 and found["test"]["plain"]["questions"] == 3
    said = run("apply", "--model", tmp_path / "pali", "--vector", file, "--question", "what is it", "--layer", 1,
               pictures / "a.png")  # fmt: skip
    assert "a.png: A" in said


def test_the_shipped_concepts_are_listed(run):
    found = json.loads(run("concepts", "--json"))
    assert [one["pairs"] for one in found] == [20] * 4
    assert "spatial-relation" in run("concepts")


def test_wrong_use_is_a_sentence(run, tmp_path):
    assert "one of the two" in run("extract", "--out", tmp_path / "v", code=2)
    assert "got none" in run("extract", "--model", "nano", "--out", tmp_path / "v", code=2)
    assert "--concept" in run("extract", "--language-model", tmp_path, "--out", tmp_path / "v", code=2)
    assert "could not read" in run("show", tmp_path / "none", code=2)
