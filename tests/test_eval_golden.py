"""The evaluation with a real model: the golden checkpoint, whose weights are random."""

import json
from pathlib import Path

import drawn_datasets as drawn
import pytest
from click.testing import CliRunner

from anomaly.commands.eval import eval_command

GOLDEN = Path(__file__).parent / "golden/steervit"


@pytest.mark.filterwarnings("default")  # of the libraries that load the model
def test_a_real_model_end_to_end_and_its_settings_are_kept(tmp_path):
    drawn.mvtec_category(tmp_path / "data/bottle", each=1)
    model = ["--model", GOLDEN / "steervit.pth", "--trunk", GOLDEN / "trunk.safetensors"]
    model += ["--text-encoder", GOLDEN / "tiny-roberta", "--device", "cpu"]
    arguments = ["mvtec", "--root", tmp_path / "data", "--out", tmp_path / "out", *model, "--omega", "0.6"]
    result = CliRunner().invoke(eval_command, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["settings"]["omega"] == 0.6 and metrics["settings"]["hashes"]
    assert metrics["model"] == "steervit" and "model steervit" in result.output
    assert 0 < metrics["categories"]["bottle"]["pro"] < 1
    arguments[-1] = "1.0"
    refused = CliRunner().invoke(eval_command, [str(a) for a in arguments])
    assert "omega: 0.6 there, 1.0 now" in str(refused.exception)
