"""The options that say how images are inspected, shared by every command that inspects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.sections import in_section

if TYPE_CHECKING:
    from anomaly.comparison import ReferenceSet
    from anomaly.evidence.reference_check import Finding
    from anomaly.inspector import Inspector

SAID = 3  # findings of one kind that are said one by one
SIZED = 32  # inputs whose size the references are to have

asked, verdict, model, machine = (
    in_section(title) for title in ("What to look for", "Verdict", "Model", "Machine")
)

files = in_section("Input and output")

# What several commands ask for by themselves, in the same words.
object_option = files(
    "--object", "part", metavar="NAME", help="What the part is called: bottle, metal nut.  [required]"
)
profile_option = files(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `steer-anomaly calibrate` wrote: fixes the part and all that decides a verdict.",
)
gate_option = verdict(
    "--no-gate", is_flag=True, help="With --profile: judge photographs that look unfit, too."
)


def sink_option(option: Callable[..., Any]) -> Callable:
    """`--sink`, in the section of `option`."""
    return option(
        "--sink",
        "sinks",
        multiple=True,
        metavar="URL",
        help="Where verdicts go: mqtt://HOST/TOPIC, https://..., csv:FILE, modbus://HOST. May be repeated.",
    )


_OPTIONS = (
    asked("--prompts", "prompt_set", metavar="SET_OR_FILE",
          help="Prompt set by name or file (`steer-anomaly prompts list`).  [default: default]"),
    asked("--prompt", "texts", multiple=True, metavar="TEXT",
          help="A prompt of your own with {object} in it; repeat it for an ensemble."),
    asked("--scales", metavar="LIST", setting="scales",
          help="Average the whole image (1) with overlapping tiles, such as 1,2 or 1,2x3."),
    asked("--tiles", metavar="N|RxC",
          help="Only overlapping tiles, N x N or rows x columns: small defects in large images."),
    asked("--omega", default=1.0, show_default=True, help="Strength of the text: 0 none, 1 as trained."),
    asked("--self-similarity", type=click.FloatRange(0, 10), metavar="WEIGHT", setting="self_similarity",
          help="Weight of how unlike the rest of its image a patch is."),
    asked("--dark-lines", type=click.FloatRange(0, 10), metavar="WEIGHT", setting="dark_lines",
          help="Weight of lines darker than their surroundings."),
    asked("--activation", type=click.Choice(["softmax", "sigmoid", "logit"]), setting="activation",
          help="From the model's logits to heatmap values."),
    asked("--smooth", type=click.FloatRange(0, 100), metavar="SIGMA", setting="smooth",
          help="Gaussian smoothing, in pixels of the model's image."),
    asked("--guided", type=click.FloatRange(0, 1000), metavar="RADIUS", setting="guided",
          help="How far around a pixel the heatmap is fitted to the picture, in pixels of the model's image; 0: not."),
    asked("--ensemble", type=click.Choice(["exact", "cascade", "fused"]), default="exact", show_default=True,
          help="fused: all prompts in one pass, faster with nearly the same maps; cascade: then each prompt where that "
          "map is highest (docs/speed.md)."),
    asked("--mutual", type=click.Choice(["auto", "on", "off"]), default="auto", show_default=True,
          help="Compare the pictures of a run with each other; auto: from 8 on, unless a threshold is asked for."),
    asked("--references", multiple=True, metavar="DIR",
          help="Good pictures of the part to compare with; may be repeated."),
    asked("--roi", metavar="MASK|x,y,w,h|auto",
          help="What is looked at: white in a picture of a mask, a box in pixels, or auto, the part against an even "
          "background. Elsewhere nothing is scored or outlined."),
    asked("--ignore", metavar="MASK", help="Picture of a mask, white where nothing is scored or outlined."),
    verdict("--threshold", type=float, metavar="SCORE", setting="threshold",
            help="Score from which an image is a defect. With sigmoid from 0 to 1, not percent."),
    verdict("--mask-threshold", type=float, metavar="VALUE", setting="mask_threshold",
            help="Heatmap value that outlines regions; --threshold does not move it."),
    model("--model", default="nano", show_default=True, metavar="NAME_OR_PATH",
          help="A name from `steer-anomaly models list`, or a checkpoint. A path of such a name: ./nano."),
    model("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's."),
    model("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's."),
    machine("--device", metavar="cpu|cuda|...", help="Where to run.  [default: cuda if there, else cpu]"),
    machine("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True,
            help="bf16 is faster and changes scores slightly."),
    machine("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time."),
    machine("--threads", type=click.IntRange(1), metavar="N",
            help="Cores to use.  [default: all that this process may use, or OMP_NUM_THREADS]"),
)  # fmt: skip


_SIZES = (
    verdict("--min-area", default="0", metavar="PX|MM2",
            help="Smaller regions are no defects: 12, or 0.5mm2 with --mm-per-pixel."),
    verdict("--min-size", default="0", metavar="PX|MM",
            help="Nor are regions whose longer side is shorter: 5, or 1.5mm with --mm-per-pixel."),
    verdict("--mm-per-pixel", type=float, metavar="MM", help="How long a pixel is on the part."),
)  # fmt: skip


def size_options(command: Callable) -> Callable:
    """Add the options that say which regions are too small to be defects; `make_inspector` takes them too."""
    for option in reversed(_SIZES):
        command = option(command)
    return command


def inspection_options(command: Callable) -> Callable:
    """Add every inspection option to a click command; pass them on to `make_inspector`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_inspector(
    *,
    pictures: int,
    mutual: str,
    references: tuple[str, ...],
    prompt_set: str | None,
    texts: tuple[str, ...],
    tiles: str | None,
    batch_size: int,
    threads: int | None = None,
    min_area: str = "0",
    min_size: str = "0",
    mm_per_pixel: float | None = None,
    inputs: Sequence[Path] = (),
    **options: Any,
) -> Inspector:
    """The `Inspector` that the inspection options describe, for a set of `pictures`; `inputs` are their paths.

    Raises `SteerAnomalyError` where options contradict each other, and for references that cannot be used.
    """
    from anomaly import prompts
    from anomaly import threads as cores
    from anomaly.bundle.contents import is_bundle
    from anomaly.errors import SteerAnomalyError
    from anomaly.inspector import Inspector
    from anomaly.regions import Least
    from steervit.weights.catalogue import licence_notice

    if texts and prompt_set:
        raise SteerAnomalyError("expected --prompts or --prompt, got both: put your sentences into a file")
    if tiles and options["scales"]:
        raise SteerAnomalyError(
            "expected --tiles or --scales, got both: --scales 1,3 averages tiles with the whole"
        )
    if tiles:
        options["scales"] = tiles
    options["ensemble"] = None if options.get("ensemble", "exact") == "exact" else options["ensemble"]
    options["least"] = Least.of(min_area, min_size, mm_per_pixel)
    # A bundle has prompts of its own, judges pictures alone, and may have no torch.
    bundled = is_bundle(options["model"])
    cores.use(threads, torch_too=not bundled)
    chosen = prompts.from_texts(texts) if texts else prompts.load(prompt_set or "default")
    if chosen.without_object:
        click.echo(f"note: {len(chosen.without_object)} prompts do not name the part", err=True)
    if notice := licence_notice(options["model"]):
        click.echo(f"note: {notice}", err=True)
    alone = [options["threshold"], options["mask_threshold"], options["activation"]] != [None] * 3
    together = is_compared(mutual, pictures, alone or bundled)
    said = chosen if texts or prompt_set or not bundled else "default"
    inspector = Inspector(
        prompts=said, mutual=together, references=read_references(references, inputs), **options
    )
    if inspector.bundle is not None:
        _check_said(inspector, options)
        if inspector.bundle.manifest.notice:
            click.echo(f"note: {inspector.bundle.manifest.notice}", err=True)
    return inspector


def _check_said(inspector: Inspector, options: dict[str, Any]) -> None:
    """Raise `SteerAnomalyError` where a bundle was exported with another value than a default that was typed out.

    An inspector cannot tell that from nothing said, which means "as the bundle was exported".
    """
    from anomaly.commands.profiles import typed
    from anomaly.errors import SteerAnomalyError

    context = click.get_current_context(silent=True)
    for name in ("omega", "precision", "ensemble"):
        then = getattr(inspector.settings, name)
        if context is not None and typed(context, name) and options[name] != then:
            raise SteerAnomalyError(
                f"expected --{name} as the bundle was exported, {then or 'exact'}, got {options[name] or 'exact'}: "
                "what decides a score is fixed in a bundle; leave it out, or export another one"
            )


def is_compared(mutual: str, pictures: int, alone: bool = False) -> bool:
    """Whether the pictures of a run are compared with each other, as `--mutual` says.

    `auto`: from `FEWEST` pictures on, unless something was asked for that is meant for pictures judged `alone`: a
    threshold or an activation, whose scale is another one in company.
    """
    from anomaly.comparison import FEWEST

    if mutual == "auto":
        return pictures >= FEWEST and not alone
    return mutual == "on"


def read_references(named: tuple[str, ...], inputs: Sequence[Path] = ()) -> ReferenceSet | tuple[()]:
    """The references named on the command line. Says what is wrong with some of them, beside each other or the first
    of the `inputs`; raises where none is left."""
    if not named:
        return ()
    from anomaly.comparison import ReferenceSet
    from anomaly.errors import SteerAnomalyError
    from anomaly.evidence import reference_check as check
    from anomaly.pictures.inputs import collect

    found, findings = check.read_references(collect(named))
    sizes = check.sizes_of(inputs[:SIZED])
    findings += check.check_sizes({one.name: one.image.shape[:2] for one in found}, sizes)
    _say(findings)
    if not found:
        raise SteerAnomalyError(f"expected good pictures in {', '.join(named)}, none could be read")
    return ReferenceSet.of([one.image for one in found], [one.name for one in found])


def _say(findings: Sequence[Finding]) -> None:
    """Each, but of those of one kind the first three."""
    counts = Counter(finding.kind for finding in findings)
    said: Counter[str] = Counter()
    for finding in findings:
        said[finding.kind] += 1
        if said[finding.kind] <= SAID:
            click.echo(f"note: {finding.message}", err=True)
    for kind, count in counts.items():
        if count > SAID:
            click.echo(f"note: and {count - SAID} more like that ({kind})", err=True)
