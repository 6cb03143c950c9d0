"""`steer-anomaly export`: one part's inspection as a folder that runs without torch, proven to score the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.options import inspection_options
from anomaly.commands.profiles import profiled_inspector
from anomaly.commands.sections import SectionedCommand, in_section

if TYPE_CHECKING:
    import numpy as np

    from anomaly.bundle.parity import Picture
    from anomaly.inspector import Inspector

written, proof = in_section("Input and output"), in_section("Proof")
# Of a bundle: it judges one picture at a time, and has a precision and a processor of its own.
LEFT_OUT = {"mutual", "precision", "device", "batch_size"}


def exported_options(command: Callable) -> Callable:
    """The inspection options that a bundle can be exported with."""
    told: Any = inspection_options(command)
    told.__click_params__ = [one for one in told.__click_params__ if one.name not in LEFT_OUT]
    return told


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Example:
  steer-anomaly export --object bottle --format onnx --out bottle-bundle
  steer-anomaly inspect --model bottle-bundle img/ --out results""",
)
@written("--object", "part", metavar="NAME", help="What the part is called: bottle, metal nut.  [required]")
@written(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `steer-anomaly calibrate` wrote: part, settings, references and threshold go into the bundle.",
)
@written(
    "--format",
    "runtime",
    type=click.Choice(["onnx", "openvino", "torch"]),
    default="onnx",
    show_default=True,
    help="What runs it: ONNX Runtime, OpenVINO, or torch alone.",
)
@written(
    "--precision",
    "kind",
    type=click.Choice(["fp32", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of the trunk. bf16: openvino, torch. int8: openvino, onnx. fp32 has to score the same.",
)
@written(
    "--mutual",
    "together",
    is_flag=True,
    help="Make `inspect --mutual on` possible: pictures are described, too.",
)
@written("--out", required=True, type=click.Path(path_type=Path), metavar="BUNDLE", help="Folder to write.")
@written("--overwrite", is_flag=True, help="Replace a bundle that is there already.")
@proof(
    "--pictures",
    multiple=True,
    metavar="DIR",
    help="Pictures to compare on, and to calibrate int8 on; good ones. May be repeated.  [default: rendered ones]",
)
@proof(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="What bf16 and int8 may lose of PRO (of rank correlation where no defects are known).",
)
@exported_options
@click.pass_context
def export(
    context: click.Context,
    part: str | None,
    profile: Path | None,
    runtime: str,
    kind: str,
    together: bool,
    out: Path,
    overwrite: bool,
    pictures: tuple[str, ...],
    tolerance: float,
    **options: Any,
) -> None:
    """Export the inspection of one part as a bundle that scores the same without torch.

    A bundle holds graphs with the prompts folded in, references, threshold, card and licence. At least 32 pictures are
    scored by both; where fp32 maps differ by more than 0.0001, or a verdict flips, nothing is written. `inspect`,
    `eval` and `serve` take it as --model.
    """
    from anomaly.bundle.exporting import Request
    from anomaly.bundle.exporting import export as export_bundle
    from anomaly.errors import SteerAnomalyError
    from steervit.weights.catalogue import licence_notice

    if profile is None and part is None:
        raise click.UsageError("Missing option '--object' (or '--profile').")
    inspector = _inspector(context, profile, options)
    if profile is not None:
        known = inspector.judge.profile
        assert known is not None
        if part is not None and part != known.object:
            raise SteerAnomalyError(f"expected no --object beside --profile, which is for {known.object!r}")
        part = known.object
    if notice := licence_notice(inspector.record.name):
        click.echo(f"note: {notice}", err=True)
    request = Request(runtime, kind, tolerance, overwrite, together)
    shown = _read(pictures)
    found = export_bundle(inspector, part or "", out, request, _as_proof(shown), shown)
    click.echo(found.sentence())
    click.echo(f"{kind} for {runtime}: {out} ({_megabytes(out):.1f} MB)")


def _inspector(context: click.Context, profile: Path | None, options: dict[str, Any]) -> Inspector:
    from anomaly.bundle.contents import is_bundle
    from anomaly.commands.options import make_inspector
    from anomaly.errors import SteerAnomalyError

    if is_bundle(options["model"]):
        raise SteerAnomalyError(
            "expected a model to export, got a bundle: export the model it was exported from"
        )
    fixed: dict[str, Any] = {"device": "cpu", "precision": "fp32", "batch_size": 8, "mutual": "off"}
    if profile is not None:
        return profiled_inspector(context, profile, True, fixed | options)
    return make_inspector(pictures=0, **fixed | options)


def _read(folders: tuple[str, ...]) -> list[np.ndarray]:
    if not folders:
        return []
    from anomaly.pictures.images import read_image
    from anomaly.pictures.inputs import collect

    return [read_image(path) for path in collect(folders)]


def _as_proof(images: list[np.ndarray]) -> list[Picture]:
    from anomaly.bundle.parity import Picture

    return [Picture(image) for image in images]


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
