"""`steer-anomaly datasets`: which benchmarks are known, fetching one, and checking a folder before use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly.commands.listing import json_option, show_json

if TYPE_CHECKING:
    from anomaly.testsets.cards import Archive, Card


@click.group("datasets")
def datasets() -> None:
    """Benchmarks: list them, fetch one, check a test set.

    \b
    Example:
      steer-anomaly datasets list
    """


@datasets.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Every benchmark with a card.

    \b
    Example:
      steer-anomaly datasets list
    """
    from anomaly.testsets import cards

    every = [cards.load(name) for name in cards.names()]
    if as_json:
        show_json([asdict(card) for card in every])
        return
    for card in every:
        mark = "*" if card.licence.restricted else " "
        what = f"{len(card.categories):3} categories" if card.is_inspection else "features steered by text"
        click.echo(f"{card.name:12} {mark} {what}  {card.licence.name}")
        click.echo(f"{'':14} {card.about}")
    click.echo("\n* restricted licence: `datasets pull` asks for --accept-licence")


@datasets.command("info")
@click.argument("name")
def info_command(name: str) -> None:
    """One benchmark: categories, licence, where it comes from, published figures.

    \b
    Example:
      steer-anomaly datasets info mvtec
    """
    from anomaly.evaluation.tables import published_table
    from anomaly.testsets import cards

    card = cards.load(name)
    click.echo(f"{card.title} ({card.name}): {card.about}")
    click.echo(f"paper    {card.paper}\npage     {card.page}\nlayout   {card.layout}")
    if card.is_inspection:
        click.echo(f"PRO to   FPR {card.pro_limit}")
    _print_licence(card)
    for archive in card.archives:
        click.echo(
            f"archive  {archive.url}\nsha256   {archive.sha256 or 'not known: a download is not verified'}"
        )
    if not card.is_inspection:
        from anomaly.steerability.outcome import table

        click.echo("\nPublished, in %:\n" + table(card))
        return
    click.echo("\ncategory             object                    group     good  defective")
    for c in card.categories:
        good, bad = (("?" if n is None else str(n)) for n in (c.good, c.defective))
        click.echo(f"{c.name:20} {c.object:25} {c.group or '':8} {good:>5} {bad:>10}")
    if card.published:
        click.echo("\nPublished, mean over the categories, in %:\n" + published_table(card))


@datasets.command("pull")
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Where to unpack.  [default: data/NAME]")
@click.option("--accept-licence", is_flag=True, help="I have read the licence and accept it.")
@click.option("--keep-archive", is_flag=True, help="Do not delete the archive after unpacking.")
def pull_command(name: str, root: Path | None, accept_licence: bool, keep_archive: bool) -> None:
    """Download, verify and unpack a benchmark; an interrupted download goes on where it stopped.

    \b
    Example:
      steer-anomaly datasets pull visa --root data/visa
    """
    from anomaly.testsets import cards
    from anomaly.testsets.layouts import locate

    card = cards.load(name)
    root = root or Path("data") / name
    _print_licence(card)
    if not card.archives:
        raise click.ClickException(f"{card.title} has no archive that can be fetched; see {card.page}")
    if card.licence.restricted and not accept_licence:
        raise click.UsageError("Read the licence above. If you accept it, add --accept-licence")
    for archive in card.archives:
        _get(archive, root, keep_archive)
    found = locate(card, root) or root
    click.echo(f"{card.title} is in {found}. Next:\n  steer-anomaly datasets check {found} --as {name}")


@datasets.command("check")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--as", "name", help="Benchmark name, `folder`, or a training source.  [default: guessed from the files]"
)
@click.option(
    "--with",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="A training source's option, such as images=DIR.",
)
@click.pass_context
def check_command(context: click.Context, folder: Path, name: str | None, options: tuple[str, ...]) -> None:
    """Find missing, empty or mis-sized masks, duplicates, unreadable files. Exits with 1 when there are any.

    \b
    Examples:
      steer-anomaly datasets check data/visa
      steer-anomaly datasets check data/refer --as refcoco --with images=data/coco
    """
    from anomaly.testsets import cards
    from anomaly.testsets.check import check, guess_card

    if kind := _training_kind(folder, name):
        if _check_training(folder, kind, options):
            context.exit(1)
        return
    card = guess_card(folder) if name is None else None if name == "folder" else cards.load(name)
    click.echo(f"Checking {folder} as {card.title if card else 'a plain folder'}")
    if card is not None and not card.is_inspection:
        from anomaly.steerability.outcome import problems_of

        found = problems_of(card, folder)
        click.echo("\n".join([*found, f"{len(found)} problems" if found else "No problems found"]))
        context.exit(1 if found else 0)
    with click.progressbar(length=0, label="images", show_eta=False, width=0) as bar:
        problems = check(folder, card, lambda path: bar.update(1))
    for problem in problems:
        click.echo(f"{problem.kind:10} {problem.category:16} {problem.message}")
    click.echo(f"{len(problems)} problems" if problems else "No problems found")
    if problems:
        context.exit(1)


def _training_kind(folder: Path, name: str | None) -> str | None:
    from steervit.training.data.source_check import guess_kind
    from steervit.training.data.sources import READERS

    if name is None:
        return guess_kind(folder)
    return name if name in READERS else None


def _check_training(folder: Path, kind: str, options: tuple[str, ...]) -> int:
    from steervit.training.data.source_check import check_source

    how = {"root": str(folder)}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise click.UsageError(f"expected --with KEY=VALUE, got {option!r}")
        how[key] = value
    click.echo(f"Checking {folder} as the training source {kind}")
    with click.progressbar(length=0, label="records", show_eta=False, width=0) as bar:
        found = check_source(kind, how, progress=lambda record: bar.update(1))
    click.echo(
        f"{found.records} records, {found.looked_at} opened, masks cover {found.mask_share:.1%} on average"
    )
    for problem in found.problems:
        click.echo(f"{problem.kind:10} {problem.source:16} {problem.message}")
    click.echo(f"{len(found.problems)} problems" if found.problems else "No problems found")
    return len(found.problems)


def _print_licence(card: Card) -> None:
    licence = card.licence
    click.echo(f"licence  {licence.name}: {licence.note} ({licence.url})")


def _get(archive: Archive, root: Path, keep: bool) -> None:
    from anomaly.testsets.fetch import download
    from anomaly.testsets.unpack import unpack

    if archive.sha256 is None:
        click.echo(f"{archive.file}: no hash is known, the download cannot be verified", err=True)
    path = download(archive.url, root / archive.file, archive.sha256, _progress(archive.file))
    click.echo(f"\nunpacking {path.name}", err=True)
    unpack(path, root)
    if not keep:
        path.unlink()


def _progress(name: str) -> Callable[[int, int | None], None]:
    shown = -1

    def report(done: int, total: int | None) -> None:
        nonlocal shown
        step = done * 1000 // total if total else done >> 24
        if step != shown:
            shown = step
            share = f" of {total / 1e6:,.1f} MB ({done / total:.1%})" if total else ""
            click.echo(f"\r{name}: {done / 1e6:,.1f} MB{share}", nl=False, err=True)

    return report
