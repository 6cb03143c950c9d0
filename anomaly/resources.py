"""Finds the YAML that ships with the tool: prompt sets, benchmark cards, training recipes.

In a wheel the three folders lie in `anomaly/_data`; in a checkout they lie beside this package.
"""

from __future__ import annotations

from pathlib import Path

FOLDERS = ("prompts", "datasets", "train")


def folder(name: str) -> Path:
    """The folder of shipped YAML called `name`, one of `FOLDERS`.

    Raises `FileNotFoundError` when neither an installed nor a checked-out copy exists.
    """
    package = Path(__file__).parent
    for candidate in (package / "_data" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(
        f"expected the folder {name!r} in {package / '_data'} or {package.parent}; found neither. "
        "The installation is incomplete: install steer-anomaly again"
    )


def files(name: str) -> dict[str, Path]:
    """Every YAML file of the folder `name`, keyed by its stem, in alphabetical order."""
    return {path.stem: path for path in sorted(folder(name).glob("*.yaml"))}
