"""What every `eval` of steered features shares: its options, its folder, one run for each omega, the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from anomaly.steerability.steered import Steered
    from steervit.processes import Processes

Say = Callable[[str], None]


def read_omegas(text: str) -> tuple[float, ...]:
    """`0.5`; `0,0.5,1`; or with dots `0,0.2,...,1`, which goes on by the same step. Sorted, each once.

    Raises `click.BadParameter` for anything else.
    """
    words = [word.strip() for word in text.split(",")]
    try:
        if "..." in words:
            first, second, dots, last = words
            low, step, high = float(first), float(second) - float(first), float(last)
            count = round((high - low) / step) + 1
            if dots != "..." or step <= 0 or count < 2 or abs(low + step * (count - 1) - high) > 1e-6:
                raise ValueError
            found = [round(low + step * i, 10) for i in range(count)]
        else:
            found = [float(word) for word in words]
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(
            f"expected numbers such as 1, or 0,0.5,1, or 0,0.2,...,1, got {text!r}"
        ) from None
    return tuple(sorted(set(found)))


_OPTIONS = (
    click.option("--root", required=True, type=click.Path(path_type=Path), help="The unpacked benchmark."),
    click.option("--out", type=click.Path(path_type=Path),
                 help="Output folder.  [default: runs/eval-NAME-MODEL and what else differs]"),
    click.option("--omega", "omegas", default="1", show_default=True, metavar="LIST",
                 callback=lambda _context, _option, text: read_omegas(text),
                 help="Strength of the text: 0 none, 1 as trained; 0,0.2,...,1 draws the curve."),
    click.option("--method", metavar="NAME", help="A baseline in place of the steered model, see `eval --help`."),
    click.option("--model", default="nano", show_default=True, metavar="NAME_OR_PATH",
                 help="A name from `steer-anomaly models list`, or a checkpoint."),
    click.option("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's."),
    click.option("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's."),
    click.option("--device", metavar="cpu|cuda|...", help="Where to run.  [default: cuda if there, else cpu]"),
    click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time."),
    click.option("--threads", type=click.IntRange(1), metavar="N", help="Cores to use."),
)  # fmt: skip


def shared_options(command: Callable) -> Callable:
    """Where the benchmark is, which model, where to run: the same for each."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Benchmark:
    """One evaluation: its card's name, what is encoded with which text in words, and how to compute its results.

    `gaps` says what keeps it from being the full benchmark, `how` what else decides a figure, `label` what the name of
    its folder says of it. `evaluate` is called in every process, for each omega.
    """

    name: str
    setting: str
    gaps: Sequence[str]
    evaluate: Callable[[Steered, Say], dict[str, Any]]
    how: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


def run(benchmark: Benchmark, shared: dict[str, Any]) -> None:
    """Evaluate, write `run.json`, `results.json` and with several omegas `curve.png`, print the table."""
    from anomaly import threads
    from steervit.processes import joined

    if len(shared["omegas"]) > 1:
        from anomaly.commands.extras import need

        need("plots", "a list of omegas, which is drawn as a curve,")
    threads.use(shared["threads"])
    with joined() as processes:
        _run(benchmark, shared, processes)


def say(line: str) -> None:
    """A line of progress."""
    click.echo(line, err=True)


def _run(benchmark: Benchmark, shared: dict[str, Any], processes: Processes) -> None:
    from anomaly.steerability import outcome
    from anomaly.steerability.steered import Steered

    make, settings = _encoders(shared, say if processes.leads else _quiet)
    omegas = shared["omegas"]
    settings = {**settings, "omega": omegas[0] if len(omegas) == 1 else list(omegas)}
    out = shared["out"] or Path("runs") / _folder(benchmark, shared)
    about = {
        "benchmark": benchmark.name,
        "settings": {**settings, "setting": benchmark.setting, **benchmark.how},
        "full_benchmark": not benchmark.gaps,
        "gaps": list(benchmark.gaps),
    }
    outcome.begin(out, about, processes)
    found: dict[float, dict[str, Any]] = {}
    for omega in omegas:
        kept = {**settings, "omega": omega}
        steered = Steered(make(omega), out / "features", kept, shared["batch_size"], processes)
        found[omega] = benchmark.evaluate(steered, say if processes.leads else _quiet)
    if processes.leads:
        _tell(benchmark, out, settings, found)
    processes.wait()


def _tell(
    benchmark: Benchmark, out: Path, settings: dict[str, Any], found: dict[float, dict[str, Any]]
) -> None:
    from anomaly.steerability import outcome
    from anomaly.testsets.cards import load

    several = len(found) > 1
    named = (
        settings["model"]
        if settings["method"] == "steervit"
        else f"{settings['method']}, {settings['model']}"
    )
    rows = [
        (named, f"omega {omega:g}; {benchmark.setting}" if several else benchmark.setting, one["global"])
        for omega, one in found.items()
    ]
    results = {"per_omega": {f"{omega:g}": one for omega, one in found.items()}}
    path = outcome.write(out, results if several else next(iter(found.values())))
    click.echo(outcome.table(load(benchmark.name), rows))
    if benchmark.gaps:
        more = "; ..." if len(benchmark.gaps) > 5 else ""
        click.echo(f"\nNOT THE FULL BENCHMARK: {'; '.join(benchmark.gaps[:5])}{more}")
    if several:
        from anomaly.steerability.curve import draw_curve

        drawn = draw_curve(out / "curve.png", load(benchmark.name).title, found)
        click.echo(f"\nCurve: {drawn}")
    click.echo(
        f"\nIn %. Results: {path}. What was computed is kept in {out}: the same command goes on from there"
    )


def _encoders(shared: dict[str, Any], tell: Say) -> tuple[Callable[[float], Any], dict[str, Any]]:
    """What makes the encoder of an omega, and the settings that say which it is."""
    from anomaly.loaded_model import usable_device
    from anomaly.model_files import find_model
    from anomaly.steerability.encoders import ModelEncoder
    from steervit.weights.catalogue import licence_notice

    if shared["method"]:
        from anomaly.methods.encoding import open_encoder

        return open_encoder(shared)
    if notice := licence_notice(shared["model"]):
        tell(f"note: {notice}")
    device = usable_device(shared["device"], shared["model"])
    found = find_model(shared["model"], shared["trunk"], shared["text_encoder"])
    model = found.load().to(device)
    settings = {"model": found.record.name, "hashes": found.record.hashes, "method": "steervit"}
    return lambda omega: ModelEncoder(model, omega), settings


def _folder(benchmark: Benchmark, shared: dict[str, Any]) -> str:
    """What two runs of different settings are not to share by default."""
    parts = ["eval", benchmark.name, Path(shared["model"]).stem, shared["method"], benchmark.label]
    if shared["omegas"] != (1.0,):
        parts.append("omega-" + "-".join(f"{omega:g}" for omega in shared["omegas"]))
    return "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts if part)


def _quiet(line: str) -> None:
    pass
