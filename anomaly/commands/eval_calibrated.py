"""`steer-anomaly eval --calibrate N`: promises of calibrated verdicts on a benchmark, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.rates import Rate

if TYPE_CHECKING:
    from anomaly.decision.calibration import Measured
    from anomaly.evaluation.calibrated import CalibratedFigures
    from anomaly.evaluation.labelled import TestImages

OPTIONS = ("calibrate", "false_alarms", "confidence", "drop_outliers")


def calibrate_options(command: Any) -> Any:
    """Add `--calibrate` and what belongs to it to a click command."""
    for option in reversed((
        click.option("--calibrate", type=click.IntRange(2), metavar="N",
                     help="Calibrate each category on N of its train/good, judge its test images, and say whether the "
                     "promise held; with --seeds for several draws."),
        click.option("--false-alarms", type=Rate(), metavar="RATE", help="With --calibrate: the rate to promise."),
        click.option("--confidence", type=Rate(), default="95%", show_default=True, metavar="RATE",
                     help="With --calibrate: how sure that is."),
        click.option("--drop-outliers", is_flag=True,
                     help="With --calibrate: leave out good pictures that are unlike all others."),
    )):  # fmt: skip
        command = option(command)
    return command


def run_calibrated(
    categories: Sequence[TestImages],
    name: str,
    out: Path | None,
    mine: dict[str, Any],
    options: dict[str, Any],
) -> bool:
    """Evaluate, print and write; whether images were left out. Raises `SteerAnomalyError` for options that clash."""
    from anomaly.commands.options import make_inspector
    from anomaly.decision.calibrating import Wish
    from anomaly.evaluation.calibrated import evaluate_calibrated
    from anomaly.runs.saving import explained, save, save_json

    _check(mine, options)
    inspector = make_inspector(pictures=0, **options | {"mutual": "on"})
    wish = Wish(mine["false_alarms"], mine["confidence"], None, mine["drop_outliers"], best_effort=True)
    out = out or Path("runs") / f"eval-{name}-{inspector.record.name}-calibrated-{mine['calibrate']}"
    figures: list[CalibratedFigures] = []
    with click.progressbar(length=sum(len(one.samples) for one in categories), label="observing") as bar:
        for one in evaluate_calibrated(
            categories,
            inspector,
            wish,
            mine["calibrate"],
            mine["seeds"] or (0,),
            out,
            lambda _, done: bar.update(done),
        ):
            figures.append(one)
    said = report(figures)
    with explained("calibrated.json", out, None):
        save_json(out / "calibrated.json", _json(name, inspector.describe(), figures))
        save(out / "calibrated.md", (said + "\n").encode())
    click.echo(f"{said}\n\nFigures: {out / 'calibrated.json'}")
    left_out = {reason for one in figures for reason in one.left_out}
    for reason in sorted(left_out):
        click.echo(f"left out: {reason}", err=True)
    return bool(left_out)


def _check(mine: dict[str, Any], options: dict[str, Any]) -> None:
    from anomaly.errors import SteerAnomalyError

    clash = [f"--{name.replace('_', '-')}" for name in ("shots", "method") if mine.get(name)]
    clash += [
        f"--{name.replace('_', '-')}"
        for name in ("references", "threshold", "mask_threshold")
        if options.get(name)
    ]
    if clash:
        raise SteerAnomalyError(
            f"expected no {', '.join(clash)} beside --calibrate, which draws the good pictures and sets the threshold"
        )


def report(figures: Sequence[CalibratedFigures]) -> str:
    """The figures as a table in Markdown, a row for each category and seed, and how often the promise held."""
    from anomaly.decision.promise import percent
    from anomaly.evaluation.calibrated import Held

    head = "category | seed | parts, references | bound | false alarms | allowed | found | SegF1"
    lines = [head, " | ".join(["---"] * 8)]
    for one in figures:
        bound = "none" if one.promise.bound is None else percent(one.promise.bound)
        seg = "-" if one.seg_f1 is None else f"{100 * one.seg_f1:.1f}"
        lines.append(
            f"{one.category} | {one.seed} | {one.promise.n}, {one.references} ({one.promise.scoring.kind}) | {bound} | "
            f"{_counted(one.alarms)} | {one.allowed} | {_counted(one.found) if one.found else '-'} | {seg}"
        )
    held, confidence = Held.of(figures), percent(figures[0].promise.confidence)
    found = [one.found.rate for one in figures if one.found]
    lines += [
        "",
        f"Of {held.runs} calibrations the share of false alarms measured was within the bound in {held.within}; "
        f"promises that are exactly true would give {held.expected:.1f}, since test images are few. False alarms were "
        f"within what the promise allows among so many images (column allowed) in {held.allowed}, {confidence} of them "
        f"at least are to be expected; an exact binomial test (5 %) refutes the bound in "
        f"{held.runs - held.not_refuted}.",
    ]
    if found:
        lines.append(f"Defective images found, mean: {100 * sum(found) / len(found):.1f} %.")
    return "\n".join(lines)


def _counted(one: Measured) -> str:
    from anomaly.decision.promise import percent

    return f"{one.count} of {one.total} ({percent(one.low)} to {percent(one.high)})"


def _json(name: str, settings: dict[str, Any], figures: Sequence[CalibratedFigures]) -> dict[str, Any]:
    from dataclasses import asdict

    from anomaly.evaluation.calibrated import Held

    return {
        "benchmark": name,
        "settings": settings,
        "held": asdict(Held.of(figures)),
        "calibrations": [one.to_dict() for one in figures],
    }
