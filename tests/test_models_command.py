"""`steer-anomaly models` as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from anomaly.commands.models import models
from anomaly.errors import SteerAnomalyError
from steervit.weights import hub
from steervit.weights.catalogue import NANO
from steervit.weights.checkpoint import read_checkpoint
from steervit.weights.finding import find_files

PUBLISHED = Path(__file__).parent / "golden" / "steervit" / "steervit.pth"


def run(*arguments):
    """The output of the command; its error, as the tool's own, where it has one."""
    result = CliRunner().invoke(models, [str(argument) for argument in arguments])
    if isinstance(result.exception, SteerAnomalyError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_list_marks_what_may_be_used_commercially():
    lines = {line.split()[0]: line for line in run("list").splitlines() if line}
    for card in hub.list_models():
        assert (lines[card.name].split()[1] == "+") == card.commercial
    assert "built in" in lines["nano"]


def test_info_on_a_file():
    output = run("info", PUBLISHED)
    assert "published .pth" in output
    assert f"{read_checkpoint(PUBLISHED).parameters:,} (float32)" in output
    assert "1: -1.0702, 3: -0.6848, 5: -0.8863" in output
    assert "model_name: test_vit" in output


def test_a_folder_does_not_hide_a_model_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    assert "Apache-2.0" in run("info", "nano")
    assert find_files("nano").checkpoint == NANO
    assert find_files("./nano").checkpoint == Path("nano")
    assert find_files(Path("nano")).checkpoint == Path("nano")
    with pytest.raises(SteerAnomalyError, match="nano"):
        run("info", "./nano")


def test_info_on_a_name():
    output = run("info", "steervit_dinov2_base.pth")
    assert "3ee74e5fba5cdbcbbdc35042b59fc44d54a68864724186c0ba4f5e2174892e3a" in output
    assert "no commercial use" in output and "models pull dinov2-base" in output
    assert "sha256        not published" in run("info", "mae-base")


def test_convert_there_and_back(tmp_path):
    run("convert", PUBLISHED, tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["text_encoder"] == "tiny-roberta"
    assert "safetensors with config" in run("info", tmp_path / "ours")
    run("convert", tmp_path / "ours", tmp_path / "back.pth")
    one, two = read_checkpoint(PUBLISHED), read_checkpoint(tmp_path / "back.pth")
    assert one.config == two.config
    assert all(tensor.equal(two.state[name]) for name, tensor in one.state.items())


def test_convert_replaces_only_when_told(tmp_path):
    for target in (tmp_path / "ours", tmp_path / "one.pth", tmp_path / "one.safetensors"):
        run("convert", PUBLISHED, target)
        with pytest.raises(SteerAnomalyError, match=r"exists already.*--force"):
            run("convert", PUBLISHED, target)
        run("convert", "--force", PUBLISHED, target)


def test_errors_are_told_and_not_thrown(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04 not a zip")
    for arguments, says in (
        (("pull", "dinov3"), "no model called 'dinov3'"),
        (("pull", "dinov2-base", "--quiet"), r"dinov2-base needs .*, which cannot be found"),
        (("info", "nothing"), "no such file or folder"),
        (("info", tmp_path / "x.pth"), "damaged or cut short"),
        (("convert", tmp_path / "x.pth", tmp_path / "y"), "damaged or cut short"),
        (("convert", "dinov2-base", tmp_path / "y"), "models pull dinov2-base"),
    ):
        with pytest.raises(SteerAnomalyError, match=says):
            run(*arguments)
    assert not (tmp_path / "y").exists()


def test_pull_says_when_there_is_nothing_to_do_and_shows_licences():
    assert "nothing to fetch" in run("pull", "nano")
    result = CliRunner().invoke(models, ["pull", "dinov2-base", "--quiet"])
    assert "no commercial use" in result.stderr


def test_help_needs_no_torch():
    code = (
        "import sys; from anomaly.commands.models import models; print({'torch', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


def test_the_list_shows_the_whole_download():
    from anomaly.commands.models import download_size

    base, mae = hub.find("dinov2-commercial-base"), hub.find("mae-base")
    assert download_size(base) == (92_345_957 + 346_334_872 + 1_421_700_479, True)
    lines = {line.split()[0]: line for line in run("list").splitlines() if line}
    assert " 1.9 GB" in lines[base.name] and "> 1.9 GB" not in lines[base.name]
    assert download_size(mae)[1] is False and "> 1.4 GB" in lines[mae.name]


def test_the_list_for_programs():
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json"))}
    assert set(entries) == {card.name for card in hub.list_models()}
    assert entries["nano"]["embedded"] and entries["nano"]["fetched"]
    assert not entries["dinov2-base"]["commercial"] and not entries["dinov2-base"]["fetched"]
