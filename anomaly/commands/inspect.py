"""`steer-anomaly inspect`: folder in; verdicts, heatmaps, masks and a report out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.options import inspection_options, make_inspector

if TYPE_CHECKING:
    from anomaly.inspector import Inspector
    from anomaly.runs.folder import ResultFolder

DEFECTS_FOUND, UNREADABLE, INTERRUPTED = 1, 3, 130


@click.command(
    epilog="""\b
Example:
  steer-anomaly inspect --object bottle img/ --out results

Exit codes: 0 done, 1 defects found (with --fail-on-defect), 2 wrong usage or settings,
3 some images could not be read, 130 interrupted."""
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@click.option(
    "--object", "part", required=True, metavar="NAME", help="What the part is called: bottle, metal nut."
)
@click.option(
    "--out", default="steer-anomaly-out", show_default=True, metavar="DIR", help="Folder for the results."
)
@click.option("--overwrite", is_flag=True, help="Delete the results of another run in --out first.")
@click.option("--fail-on-defect", is_flag=True, help="Exit with 1 when a defect is found, for scripts.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@inspection_options
def inspect(
    inputs: tuple[str, ...],
    part: str,
    out: str,
    overwrite: bool,
    fail_on_defect: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Find defects in photographs of one kind of part.

    INPUTS are images, folders (searched to any depth), globs, or text files listing images. Run the same
    command again and it continues where it stopped.
    """
    from anomaly.pictures.inputs import collect
    from anomaly.runs.folder import ResultFolder

    paths = collect(inputs)
    inspector = make_inspector(**options)
    try:
        with ResultFolder(out, run_info(inspector, part), overwrite) as folder:
            _inspect_all(folder, paths, inputs, inspector, part, options["batch_size"], quiet)
            counts = folder.counts()
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; what was done is in {out}: run the same command again to continue", err=True
        )
        sys.exit(INTERRUPTED)
    _summarise(counts, inspector, Path(out))
    if counts["unreadable"]:
        sys.exit(UNREADABLE)
    if fail_on_defect and counts["defect"]:
        sys.exit(DEFECTS_FOUND)


def run_info(inspector: Inspector, part: str) -> dict[str, Any]:
    """What `run.json` keeps about a run: command, object, settings, versions, model and its card."""
    import platform

    import numpy
    import timm
    import torch
    import transformers

    record = inspector.record
    modules = {"torch": torch, "timm": timm, "transformers": transformers, "numpy": numpy}
    return {
        "command": shlex.join(["steer-anomaly", *sys.argv[1:]]),
        "object": part,
        "settings": inspector.settings(),
        "versions": {"python": platform.python_version()} | {k: m.__version__ for k, m in modules.items()},
        "model": {
            "name": record.name,
            "about": record.about,
            "licence": record.licence,
            "sha256": record.hashes,
        },
        "card": record.card,
        "note": _note(inspector),
    }


def _note(inspector: Inspector) -> str:
    point = inspector.point
    about = f"Produced by {inspector.record.name}: {inspector.record.about}."
    if point is None:
        return (
            about
            + " No threshold was measured for this model with these settings, so images are scored, not judged."
        )
    return f"{about} Threshold {point.threshold:.3g}: {point.source}."


def _inspect_all(
    folder: ResultFolder,
    paths: list[Path],
    inputs: tuple[str, ...],
    inspector: Inspector,
    part: str,
    batch_size: int,
    quiet: bool,
) -> None:
    from tqdm import tqdm

    from anomaly.pictures.images import ImageError, read_image
    from anomaly.pictures.inputs import input_roots, relative_name

    roots, pending = input_roots(inputs), folder.pending(paths)
    if len(pending) < len(paths):
        click.echo(f"{len(paths) - len(pending)} of {len(paths)} images are done already", err=True)
    if pending:
        inspector.prepare(part, last=True)
    with tqdm(total=len(pending), unit="image", disable=quiet) as bar:
        for start in range(0, len(pending), batch_size):
            images = {}
            for path in pending[start : start + batch_size]:
                try:
                    images[path] = read_image(path)
                except ImageError as error:
                    folder.fail(path, error.reason, relative_name(path, roots))
                    bar.write(str(error), file=sys.stderr)
            found = inspector.inspect_batch(list(images.values()), part)
            for (path, image), inspection in zip(images.items(), found, strict=True):
                folder.write(relative_name(path, roots), path, image, inspection)
            bar.update(len(pending[start : start + batch_size]))


def _summarise(counts: dict[str, int], inspector: Inspector, out: Path) -> None:
    images = sum(counts.values())
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    click.echo(f"{images} images inspected with {inspector.record.name}: {', '.join(parts)}")
    if inspector.point is None:
        click.echo("no threshold is known for this model with these settings; give one with --threshold")
    click.echo(f"report: {(out / 'report.html').resolve()}")
