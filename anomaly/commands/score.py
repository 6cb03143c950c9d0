"""`steer-anomaly score`: figures for anomaly maps on disk, ours or another method's, without any model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands import exit_codes
from anomaly.commands.extras import need

if TYPE_CHECKING:
    from anomaly.evaluation.labelled import TestImages
    from anomaly.evaluation.scoring import CategoryResult
    from anomaly.testsets.cards import Card

SHOWN = ("pixel_auroc", "pixel_f1_max", "pro", "image_auroc", "image_f1_max")


@click.command("score")
@click.argument("maps", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--gt", "root", required=True, type=click.Path(path_type=Path), help="The test set, or its masks."
)
@click.option("--as", "benchmark", default="folder", show_default=True, help="Benchmark that --gt holds.")
@click.option("--category", "names", multiple=True, help="Only this category; may be repeated.")
@click.option(
    "--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Maps to compare with."
)
@click.option(
    "--draws", default=1000, show_default=True, help="Bootstrap draws over images; 0 for no intervals."
)
@click.option("--resize", is_flag=True, help="Resize maps to their image's size, bilinearly.")
@click.option(
    "--image-score",
    type=click.Choice(["max", "top"]),
    default="max",
    show_default=True,
    help="An image's score: the map's highest value, or the mean of its top 0.1 %.",
)
@click.option("--pro-limit", type=click.FloatRange(0, 1, min_open=True), help="Integrate PRO up to this FPR.")
@click.option(
    "--protocol", "protocols", multiple=True, type=click.Choice(["mvtec", "calpro200"]), default=["mvtec"]
)
@click.option(
    "--calpro-size", default=518, show_default=True, help="Side in px that calpro200 resizes maps to."
)
@click.option(
    "--name", help="What the method is called.  [default: the model that eval used, or the folder's name]"
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write tables, plots, report here.")
@click.pass_context
def score(context: click.Context, maps: Path, root: Path, benchmark: str, **options: Any) -> None:
    """Score the TIFF, NPY or PNG maps in MAPS, or those that `eval --save-maps` left in MAPS.

    Maps are found as MVTec's evaluation code names them: CATEGORY/test/DEFECT/IMAGE.tiff. Intervals are 95 %,
    over images. Exits with 3 when images had to be left out.

    \b
    Example:
      steer-anomaly score runs/ours --gt data/mvtec --as mvtec --against runs/theirs
    """
    from anomaly.evaluation.scoring import require_counted
    from anomaly.evaluation.tables import text
    from anomaly.testsets.cards import load

    if options["out"]:
        need("plots", "score --out, which draws curves,")
    card = None if benchmark == "folder" else load(benchmark)
    limit = options["pro_limit"] or (card.pro_limit if card else 0.3)
    results, details = [], {}
    for images in _test_sets(card, root, options["names"]):
        result, details[images.name] = _score(images, maps, limit, options)
        results.append(result)
    require_counted(results)
    summary = _summary(card, root, maps, results, limit, options)
    for entry in summary.left_out:
        click.echo(f"left out: {entry['reason']}", err=True)
    click.echo(text(summary))
    _tell_image_scores(maps, options["against"], [r.category for r in results], options["image_score"])
    _show(details, options["draws"], options["against"])
    if options["out"]:
        _write(summary, details, options["out"])
    if summary.left_out:
        context.exit(exit_codes.FAILED_IMAGES)


def _test_sets(card: Card | None, root: Path, names: tuple[str, ...]) -> list[TestImages]:
    from anomaly.evaluation.labelled import TestImages
    from anomaly.evaluation.sets import benchmark_categories, folder_test_sets
    from anomaly.testsets.folder_layout import holds_masks_only, mask_samples

    if card is not None:
        return benchmark_categories(card, root, names)
    if holds_masks_only(root):
        folder = root.resolve()
        name = folder.parent.name if folder.name == "ground_truth" else folder.name
        return [TestImages(name, name, mask_samples(root))]
    return folder_test_sets(root, names)


def _score(
    images: TestImages, maps: Path, limit: float, options: dict[str, Any]
) -> tuple[CategoryResult, dict[str, Any]]:
    from anomaly.evaluation.external_maps import find_maps, gather, known_scores
    from anomaly.evaluation.scoring import score_category
    from steervit.processes import Processes

    ours = find_maps(maps, images, options["resize"])
    theirs = find_maps(options["against"], images, options["resize"]) if options["against"] else None
    mine = gather(images, ours, limit, known_scores(maps, images.name), options["image_score"])
    size = options["calpro_size"] if "calpro200" in options["protocols"] else None
    result = score_category(images, ours.read, mine.scores, mine.problems, Processes(), (limit,), size)
    details: dict[str, Any] = {}
    if options["draws"] and mine.scores:
        details["intervals"] = mine.intervals(options["draws"])
        if theirs is not None:
            scores = known_scores(options["against"], images.name)
            other = gather(images, theirs, limit, scores, options["image_score"])
            _same_images(mine.scores, other.scores, other.problems)
            details["difference"] = mine.minus(other, options["draws"])
    return result, details


def _tell_image_scores(maps: Path, against: Path | None, categories: list[str], chosen: str) -> None:
    """Where the image scores come from: two methods whose scores are made differently differ in that, too."""
    from anomaly.evaluation.external_maps import known_scores

    kinds = {"max": "the highest value of each map", "top": "the mean of the top 0.1 % of each map"}
    for folder in (maps, against) if against else (maps,):
        known = all(known_scores(folder, category) for category in categories)
        click.echo(f"image scores of {folder}: {'those that eval kept' if known else kinds[chosen]}")


def _same_images(mine: dict[str, Any], theirs: dict[str, Any], problems: list[Any]) -> None:
    from anomaly.errors import SteerAnomalyError

    if set(mine) != set(theirs):
        reason = problems[0].reason if problems else "the first method left some out"
        raise SteerAnomalyError(
            f"the two methods cannot be compared on the same {len(mine)} images: {reason}"
        )


def _summary(
    card: Card | None, root: Path, maps: Path, results: list[Any], limit: float, options: dict[str, Any]
) -> Any:
    from anomaly.evaluation.external_maps import known_settings
    from anomaly.evaluation.summary import Summary, coverage_notes

    made_by = known_settings(maps)
    title = card.title if card else f"own images {root.resolve().name}"
    name = options["name"] or made_by.get("model") or maps.resolve().name
    settings = made_by | {
        "maps": str(maps),
        "image_score": options["image_score"],
        "resize": options["resize"],
    }
    return Summary(title, name, results, coverage_notes(card, results, None), card, settings, limit)


def _show(details: dict[str, dict[str, Any]], draws: int, against: Path | None) -> None:
    from anomaly.evaluation.tables import text_table, title

    columns = [m for m in SHOWN if any(m in d.get("intervals", {}) for d in details.values())]
    if not columns:
        return
    head = ["category", *map(title, columns)]
    rows = [[name, *(_interval(d["intervals"].get(c)) for c in columns)] for name, d in details.items()]
    click.echo(f"\n95 % intervals, {draws} draws of images with replacement:\n" + text_table(head, rows))
    if against is not None:
        rows = [[n, *(_difference(d["difference"].get(c)) for c in columns)] for n, d in details.items()]
        click.echo(f"\nMinus {against}, same images drawn for both (p two-sided):\n" + text_table(head, rows))


def _interval(entry: dict[str, Any] | None, signed: bool = False) -> str:
    if entry is None or entry["value"] is None or entry["low"] is None:
        return "-"
    form = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (form.format(100 * entry[name]) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _difference(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["p_value"] is None:
        return "-"
    return f"{_interval(entry['interval'], signed=True)} p={entry['p_value']:.3f}"


def _write(summary: Any, details: dict[str, Any], out: Path) -> None:
    from anomaly.evaluation.results import write_results
    from anomaly.evaluation.run import write_json

    paths = write_results(summary, out)
    write_json(out / "intervals.json", details)
    click.echo(f"\nReport: {paths[-1]}")
