"""`steer-anomaly eval`: scores a model on a benchmark or on the user's own labelled images."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands import exit_codes
from anomaly.commands import options as inspection
from anomaly.commands.baselines import make_method_inspector
from anomaly.commands.eval_calibrated import OPTIONS, calibrate_options, run_calibrated
from anomaly.commands.extras import need
from anomaly.commands.steerability import EvalCommand

if TYPE_CHECKING:
    import numpy as np

    from anomaly.evaluation.labelled import TestImages
    from anomaly.evaluation.run import EvalInspector, Options, Watcher
    from anomaly.evaluation.summary import Summary
    from anomaly.methods.method_inspector import MethodInspector
    from anomaly.testsets.cards import Card
    from anomaly.testsets.samples import Sample
    from steervit.processes import Processes


@click.command("eval", cls=EvalCommand)
@click.argument("benchmark")
@click.option(
    "--root", required=True, type=click.Path(path_type=Path), help="The unpacked benchmark, or your folder."
)
@click.option("--category", "names", multiple=True, help="Only this category; may be repeated.")
@click.option(
    "--object", "object_name", help="What the part is called, instead of the card's or folder's name."
)
@click.option(
    "--split", default="public", show_default=True, help="MVTec AD 2: public, private or private_mixed."
)
@click.option(
    "--limit", type=click.IntRange(1), help="At most so many images of each category, evenly picked."
)
@click.option(
    "--pro-limit",
    "pro_limits",
    multiple=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Integrate PRO up to this false-positive rate; repeat it for more columns.  [default: the benchmark's]",
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(["mvtec", "calpro200"]),
    default=["mvtec"],
    help="PRO as MVTec computes it (always), and beside it as much of the zero-shot literature does.",
)
@click.option(
    "--calpro-size", default=518, show_default=True, help="Side in px that calpro200 resizes maps to."
)
@click.option(
    "--shots",
    type=click.IntRange(1),
    metavar="K",
    help="Few-shot: compare with K good images of each category, drawn from its train/good.",
)
@click.option(
    "--seeds",
    metavar="LIST",
    callback=lambda _context, _option, text: _seeds(text),
    help="With --shots or --calibrate: draw once by each of these seeds; mean and deviation are printed.  [default: 0]",
)
@click.option(
    "--method", metavar="NAME", help="A baseline in place of the inspection; below is what there is."
)
@calibrate_options
@click.option("--save-maps", is_flag=True, help="Keep every anomaly map (float32 TIFF, MVTec's naming).")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Output folder.  [default: runs/eval-NAME-MODEL]"
)
@inspection.inspection_options
@click.pass_context
def eval_command(
    context: click.Context, benchmark: str, root: Path, out: Path | None, **options: Any
) -> None:
    """Score a model on BENCHMARK: a name from `datasets list`, or `folder` for your own labelled images.

    Writes metrics.json, the table as CSV, Markdown and LaTeX, plots and report.html. Run the same command
    again after an interruption and it goes on. Figures are zero-shot unless --mutual on (the test images are
    compared with each other; auto means off here) or --shots is given. To share the work among processes:
    torchrun --nproc-per-node 2 $(which steer-anomaly) eval ... Exits with 3 when images had to be left out.

    \b
    Example:
      steer-anomaly eval mvtec --root data/mvtec --category bottle --category wood
    """
    need("plots", "eval, which draws curves,")
    from steervit.processes import joined

    ours = ("names", "object_name", "split", "limit", "pro_limits", "protocols", "calpro_size", "save_maps",
            "shots", "seeds", "method", *OPTIONS)  # fmt: skip
    mine = {name: options.pop(name) for name in ours}
    with joined() as processes:
        left_out = _run(context, benchmark, root, out, mine, options, processes)
    if left_out:
        context.exit(exit_codes.FAILED_IMAGES)


def _run(
    context: click.Context,
    benchmark: str,
    root: Path,
    out: Path | None,
    mine: dict[str, Any],
    options: dict[str, Any],
    processes: Processes,
) -> bool:
    card, categories = _categories(benchmark, root, mine)
    if mine["calibrate"]:
        if mine["method"]:
            raise click.UsageError("--calibrate measures this tool's verdicts, and a --method gives none")
        return run_calibrated(categories, Path(benchmark).stem, out, mine, options)
    setting = _setting(mine, options)
    inspector: Any
    if mine["method"]:
        inspector = make_method_inspector(context, mine["method"], options)
        setting, categories = _good_for(inspector, mine, setting, categories)
    else:
        if setting == "few-shot" and not options.get("references"):
            options["activation"] = options.get("activation") or "logit"  # as where pictures are compared
        inspector = inspection.make_inspector(pictures=0, **options)
    model = Path(str(inspector.describe().get("model"))).stem.replace(" ", "-")
    stem = f"eval-{Path(benchmark).stem}-{model}"
    known = {
        "few-shot": f"-{mine['shots']}-shots" if mine["shots"] else "-references",
        "mutual scoring": "-mutual",
        "full-shot": "-full-shot",
    }
    out = out or Path("runs") / f"{stem}{known.get(setting, '')}"
    name = f"{Path(benchmark).stem} {mine['split']}"
    task = _Task(card, root, name, mine, _how(mine, card, options), setting, inspector, processes)
    if mine["shots"] is None:
        summary = _evaluated(task, categories, out)
        if processes.leads:
            _write(summary, out, mine["split"])
        return bool(summary.left_out)
    return _with_shots(task, categories, out)


@dataclass(frozen=True)
class _Task:
    """What does not change from seed to seed."""

    card: Card | None
    root: Path
    name: str
    mine: dict[str, Any]
    how: Options
    setting: str
    inspector: EvalInspector
    processes: Processes


def _setting(mine: dict[str, Any], options: dict[str, Any]) -> str:
    """Which column of a table the figures may stand in."""
    if mine["seeds"] and mine["shots"] is None:
        raise click.UsageError("--seeds draw the good images of --shots or --calibrate: give one of them too")
    together = options.get("mutual") == "on"
    if together and (mine["shots"] or options.get("references")):
        raise click.UsageError("--mutual on and good images are two settings: evaluate them one at a time")
    if mine["shots"] and options.get("references"):
        raise click.UsageError("expected --shots or --references, got both")
    if together:
        return "mutual scoring"
    return "few-shot" if mine["shots"] or options.get("references") else "zero-shot"


def _good_for(
    inspector: MethodInspector, mine: dict[str, Any], setting: str, categories: list[TestImages]
) -> tuple[str, list[TestImages]]:
    """Setting and test images of a baseline: one that needs good pictures gets all of train/good, or what was asked."""
    from anomaly.evaluation.shots import with_all_good

    if not inspector.method.needs_good:
        if setting == "few-shot":
            raise click.UsageError(
                f"the method {mine['method']} compares with no good pictures: leave them away"
            )
        return setting, categories
    if setting == "few-shot":
        return setting, categories
    return "full-shot", [with_all_good(images) for images in categories]


def _seeds(text: str | None) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(one) for one in text.split(","))) if text else ()
    except ValueError:
        raise click.BadParameter(f"expected whole numbers such as 0,1,2, got {text!r}") from None
    return seeds


def _evaluated(task: _Task, categories: list[TestImages], out: Path, drawn: str = "") -> Summary:
    from anomaly.errors import SteerAnomalyError
    from anomaly.evaluation.run import evaluate
    from anomaly.runs.saving import OutputError

    doubts: list[str] = []
    watcher = _watcher(out, task.mine["split"], task.processes, doubts.append)
    name = f"{task.name}, {drawn}" if drawn else task.name
    try:
        results = evaluate(task.inspector, name, categories, out, task.how, task.processes, watcher)
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted. What is done is kept in {out}: run the same command to go on", err=True)
        raise click.exceptions.Exit(exit_codes.INTERRUPTED) from None
    except OutputError as error:
        raise SteerAnomalyError(f"{error} (--out names the folder)") from error
    settings = task.inspector.describe()
    if drawn:
        settings["company"] = f"{drawn} of each category"
    doubts += [images.note for images in categories if images.note]
    return _summary(task, settings, results, doubts)


def _with_shots(task: _Task, categories: list[TestImages], out: Path) -> bool:
    """One evaluation for each seed, in folders of their own, and what they have in common."""
    from anomaly.evaluation.seed_tables import text, write_over_seeds
    from anomaly.evaluation.shots import OverSeeds, draw

    seeds, count = task.mine["seeds"] or (0,), task.mine["shots"]
    summaries = []
    for seed in seeds:
        drawn = [draw(images, count, seed) for images in categories]
        said = f"{count} good image{'s' if count > 1 else ''} drawn by seed {seed}"
        summary = _evaluated(task, drawn, out / f"seed-{seed}", said)
        summaries.append(summary)
        if task.processes.leads:
            _write(summary, out / f"seed-{seed}", task.mine["split"], quiet=True)
    if task.processes.leads and task.mine["split"] == "public":
        found = OverSeeds(tuple(summaries), seeds)
        write_over_seeds(found, out)
        click.echo(text(found, count))
        click.echo(f"\nReports: {out}/seed-*/report.html")
    return any(summary.left_out for summary in summaries)


def _categories(benchmark: str, root: Path, mine: dict[str, Any]) -> tuple[Card | None, list[TestImages]]:
    from anomaly.evaluation.sets import benchmark_categories, folder_test_sets

    if benchmark == "folder":
        found = folder_test_sets(root, mine["names"], mine["object_name"])
        return None, [_limited(images, mine["limit"]) for images in found]
    from anomaly.testsets.cards import load

    card = load(benchmark)
    if mine["split"] != "public" and card.layout != "mvtec-ad-2":
        raise click.UsageError(f"--split {mine['split']}: only MVTec AD 2 has it, {card.title} does not")
    found = benchmark_categories(card, root, mine["names"], mine["object_name"], mine["split"])
    return card, [_limited(images, mine["limit"]) for images in found]


def _limited(images: TestImages, limit: int | None) -> TestImages:
    from dataclasses import replace

    if limit is None or limit >= len(images.samples):
        return images
    step = len(images.samples) / limit
    return replace(images, samples=[images.samples[int(i * step)] for i in range(limit)])


def _how(mine: dict[str, Any], card: Card | None, options: dict[str, Any]) -> Options:
    from anomaly.evaluation.run import Options

    limits = tuple(dict.fromkeys(mine["pro_limits"])) or (card.pro_limit if card else 0.3,)
    calpro_size = mine["calpro_size"] if "calpro200" in mine["protocols"] else None
    return Options(limits, calpro_size, options.get("batch_size") or 8, mine["save_maps"])


def _summary(task: _Task, settings: dict[str, Any], results: list[Any], doubts: list[str]) -> Summary:
    from anomaly.evaluation.summary import Summary, coverage_notes

    card, limit, split = task.card, task.mine["limit"], task.mine["split"]
    title = card.title if card else f"own images {task.root.resolve().name}"
    notes = coverage_notes(card, results, limit, split) + doubts
    model, pro_limit = str(settings.get("model")), task.how.limits[0]
    return Summary(title, model, results, notes, card, settings, pro_limit, task.setting)


def _write(summary: Summary, out: Path, split: str, quiet: bool = False) -> None:
    from anomaly.evaluation.results import write_results
    from anomaly.evaluation.submission import MAPS
    from anomaly.evaluation.tables import text

    for entry in summary.left_out:
        click.echo(f"left out: {entry['reason']}", err=True)
    if split != "public":
        click.echo(f"The labels of this test set are secret. Files for MVTec's server: {out / MAPS}")
        if not (out / "anomaly_images_thresholded").is_dir():
            click.echo(
                "No threshold is known, so there are no thresholded images; --threshold sets one", err=True
            )
        return
    paths = write_results(summary, out)
    if not quiet:
        click.echo(text(summary))
        click.echo(f"\nReport: {paths[-1]}")


def _watcher(out: Path, split: str, processes: Processes, doubt: Callable[[str], None]) -> Watcher:
    from anomaly.evaluation.run import Watcher
    from anomaly.evaluation.submission import write_submission
    from anomaly.report.gallery import draw_gallery

    if not processes.leads:
        return Watcher()
    progress = Progress()

    def finish(images: TestImages, result: Any) -> None:
        if split == "public":
            draw_gallery(out, images, result, _reader(out, images.name))
        else:
            write_submission(out, images.name, images.samples, _reader(out, images.name))

    return Watcher(progress.begin, progress.advance, finish, doubt)


def _reader(out: Path, category: str) -> Callable[[Sample], np.ndarray]:
    from anomaly.pictures.maps import map_path, read_map

    return lambda sample: read_map(map_path(out / "maps", category, sample.key))


class Progress:
    """One line per category on stderr: images done and images per second."""

    def __init__(self) -> None:
        self.name, self.total, self.done, self.start = "", 0, 0, time.monotonic()

    def begin(self, name: str, total: int) -> None:
        """A category begins."""
        self.name, self.total, self.done, self.start = name, total, 0, time.monotonic()

    def advance(self, count: int) -> None:
        """`count` more images are done."""
        self.done += count
        speed = self.done / max(time.monotonic() - self.start, 1e-6)
        last = self.done >= self.total
        if sys.stderr.isatty() or last:
            line = f"\r{self.name:20} {self.done:5}/{self.total} images  {speed:7.1f}/s"
            click.echo(line, nl=last, err=True)
