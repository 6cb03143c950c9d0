"""The package list agrees with the disk, and what must ship does."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from anomaly import resources

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_code_folder_is_listed_and_every_listed_package_exists():
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("anomaly", "steervit")
        for path in (ROOT / top).rglob("__init__.py")
    }
    of_data = set(SETUPTOOLS["package-data"]) - {"*"}
    listed = {name for name in SETUPTOOLS["packages"] if "._data." not in name}
    assert listed - of_data == on_disk
    assert of_data <= listed


def test_every_folder_below_the_code_is_listed():
    for top in ("anomaly", "steervit"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert ".".join(path.parent.relative_to(ROOT).parts) in SETUPTOOLS["packages"], path


@pytest.mark.parametrize("folder", resources.FOLDERS)
def test_yaml_folders_ship_and_hold_no_code(folder):
    assert SETUPTOOLS["package-dir"][f"anomaly._data.{folder}"] == folder
    assert f"anomaly._data.{folder}" in SETUPTOOLS["packages"]
    assert not list((ROOT / folder).glob("*.py"))


def test_resources_are_found_and_an_unknown_folder_is_an_error():
    assert "default" in resources.files("prompts")
    assert "mvtec" in resources.files("datasets")
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        resources.folder("no-such-folder")


@pytest.mark.parametrize("module", ["anomaly.cli", "anomaly.metrics"])
def test_light_modules_import_neither_torch_nor_transformers(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_answers_in_under_a_second():
    import time

    best = 10.0
    for _ in range(3):  # the best of three: a busy machine must not fail it
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "anomaly.cli", "--help"], check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    assert best < 1


def test_no_code_in_the_wheel_forgets_a_data_file():
    patterns = SETUPTOOLS["package-data"]
    assert patterns["*"] == ["*.yaml", "py.typed"]
    for package, globs in patterns.items():
        if package != "*":
            for pattern in globs:
                folder = ROOT / package.replace(".", "/")
                assert list(folder.glob(pattern)), f"{package}: nothing matches {pattern}"


def test_type_checkers_are_told_that_the_packages_are_typed():
    assert (ROOT / "anomaly" / "py.typed").is_file() and (ROOT / "steervit" / "py.typed").is_file()
