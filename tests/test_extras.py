"""What a plain installation leaves out is asked for before any work, with the command that brings it."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from anomaly.cli import main
from anomaly.commands import exit_codes, extras

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
PACKAGES = {"lance": "pylance"}  # what brings a module of another name


def required(lines):
    return {line.split(">=")[0].split("[")[0].replace("_", "-") for line in lines}


def test_the_extras_are_those_of_the_project_and_no_dependency_of_everybody():
    optional = PROJECT["optional-dependencies"]
    for name, modules in extras.EXTRAS.items():
        packages = {PACKAGES.get(module, module.replace("_", "-")) for module in modules}
        assert required(optional[name]) == packages
        assert not packages & required(PROJECT["dependencies"])
    assert any("[plots,train" in line for line in optional["dev"])  # the tests run with all of them


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["eval", "folder", "--root", "."], "matplotlib"),
        (["train", "plot", "."], "matplotlib"),
        (["train", "smoke"], "pyarrow"),
        (["train", "masks", ".", "--out", "x"], "pyarrow"),
    ],
)
def test_a_missing_package_is_said_first(command, missing, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else name)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == exit_codes.USAGE
    assert missing in done.output and "pip install 'steer-anomaly[" in done.output
    assert not list(tmp_path.iterdir())


def test_a_dry_run_needs_nothing(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert CliRunner().invoke(main, ["train", "smoke", "--dry-run"]).exit_code == exit_codes.OK
