"""The option `--profile` of commands that inspect: which options it fixes, and the inspector that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from anomaly.decision.profile import Profile
    from anomaly.inspector import Inspector

FIXED = {
    "part": "--object", "prompt_set": "--prompts", "texts": "--prompt", "scales": "--scales", "tiles": "--tiles",
    "omega": "--omega", "self_similarity": "--self-similarity", "dark_lines": "--dark-lines",
    "activation": "--activation", "smooth": "--smooth", "guided": "--guided",
    "mutual": "--mutual", "references": "--references",
    "threshold": "--threshold", "mask_threshold": "--mask-threshold", "precision": "--precision",
    "ensemble": "--ensemble",
    "roi": "--roi", "ignore": "--ignore", "min_area": "--min-area", "min_size": "--min-size",
    "mm_per_pixel": "--mm-per-pixel",
}  # fmt: skip


def typed(context: click.Context, name: str) -> bool:
    """Whether the option with this name stands on the command line."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def read_profile(path: Path) -> Profile:
    """The profile in a file. Raises `ProfileError` for any other file."""
    from anomaly.decision.profile_file import load

    return load(path)


def profiled_inspector(context: click.Context, path: Path, gate: bool, options: dict[str, Any]) -> Inspector:
    """The inspector of a profile. Raises `SteerAnomalyError` naming options given beside it that it fixes."""
    from anomaly import threads
    from anomaly.errors import SteerAnomalyError
    from anomaly.inspector import Inspector

    if given := [option for name, option in FIXED.items() if typed(context, name)]:
        raise SteerAnomalyError(
            f"expected no {', '.join(given)} beside --profile, which fixes {'it' if len(given) == 1 else 'them'}: "
            "leave out what the profile says, or calibrate again with other settings"
        )
    profile = read_profile(path)
    threads.use(options["threads"])
    return Inspector.from_profile(
        profile,
        model=options["model"] if typed(context, "model") else None,
        trunk=options["trunk"],
        text_encoder=options["text_encoder"],
        device=options["device"],
        gate=gate,
    )
