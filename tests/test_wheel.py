"""The artefact is what is tested: a wheel, installed into an empty folder and run from somewhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly import resources

ROOT = Path(__file__).parent.parent
CODE = ("anomaly", "steervit")
pytestmark = pytest.mark.slow
SOURCES = ("pyproject.toml", "README.md", "LICENSE", *CODE, *resources.FOLDERS)

# Every command in one process: what a command prints and its exit code, as JSON on the last line.
RUN = """
import json, sys
from click.testing import CliRunner
from anomaly.cli import main
import anomaly
answers = {"place": anomaly.__file__}
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(main, words)
    answers[" ".join(words[:2])] = [done.exit_code, done.output, repr(done.exception)]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the working tree; built from a copy, as a build leaves files beside its sources."""
    assert int(version("setuptools").split(".")[0]) >= 77, 'run: pip install -e ".[dev]"'
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-compile", "--target", target, wheel)
    return target


def pip(*arguments) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def answers(installed, tmp_path_factory) -> dict:
    """Runs every command from an empty working directory, where the source tree cannot be seen."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    draw(elsewhere / "plates [batch 2]")
    commands = [
        ["--help"],
        ["prompts", "list"],
        ["models", "info", "nano"],
        ["train", "smoke", "--dry-run"],
        ["inspect", "plates [batch 2]", "--object", "plate", "--out", "out", "--quiet"],
        ["eval", "folder", "--root", "plates [batch 2]", "--out", "scored"],
    ]
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(elsewhere / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=elsewhere, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"elsewhere": str(elsewhere)}


def draw(folder: Path) -> None:
    """Two plates, one with a dark spot that its mask shows; one name holds what a glob would not find."""
    spot = np.zeros((160, 160), bool)
    spot[70:90, 50:80] = True
    noise = np.random.default_rng(0).normal(0, 4, (160, 160, 1))
    plate = np.broadcast_to((170 + noise).astype(np.uint8), (160, 160, 3))
    for name, pixels in (
        ("test/good/1.png", plate),
        ("test/spot/2.png", np.where(spot[..., None], 25, plate).astype(np.uint8)),
        ("ground_truth/spot/2_mask.png", spot.astype(np.uint8) * 255),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)


def test_the_wheel_holds_every_file_of_the_source_tree(wheel):
    with zipfile.ZipFile(wheel) as bundle:
        inside = {name for name in bundle.namelist() if ".dist-info/" not in name}
    here = {path for top in CODE for path in files_below(ROOT / top, top)}
    here |= {path for top in resources.FOLDERS for path in files_below(ROOT / top, f"anomaly/_data/{top}")}
    assert inside == here


def files_below(folder: Path, prefix: str) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{prefix}/{path.relative_to(folder).as_posix()}" for path in found}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--help", "inspect"),
        ("prompts list", "default"),
        ("models info", "nano"),
        ("train smoke", "smoke"),
        ("inspect plates [batch 2]", "images inspected with nano"),
        ("eval folder", "PRO"),
    ],
)
def test_installed_commands_answer_from_anywhere(answers, installed, command, words):
    assert Path(answers["place"]).is_relative_to(installed)
    code, output, error = answers[command]
    assert code == 0, output + error
    assert words in output


@pytest.mark.parametrize("out", ["out", "scored"])
def test_installed_commands_write_a_report_that_needs_no_other_file(answers, out):
    page = (Path(answers["elsewhere"]) / out / "report.html").read_text(encoding="utf-8")
    assert "<style>" in page and "</html>" in page


def test_an_installed_eval_counts_the_images_of_a_folder_with_brackets(answers):
    metrics = json.loads((Path(answers["elsewhere"]) / "scored" / "metrics.json").read_text())
    (entry,) = metrics["categories"].values()
    assert (entry["good"], entry["defective"]) == (1, 1)
