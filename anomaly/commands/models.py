"""`steer-anomaly models`: which models are known, fetching one, looking into one, changing its format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.listing import json_option, show_json
from anomaly.errors import SteerAnomalyError, as_user_errors

if TYPE_CHECKING:
    from steervit.weights.catalogue import ModelCard
    from steervit.weights.checkpoint import Checkpoint


@click.group("models")
def models() -> None:
    """Models: list the known ones, fetch, inspect or convert one.

    \b
    Example:
      steer-anomaly models list
    """


@models.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Every model known by name; those marked + may be used commercially.

    \b
    Example:
      steer-anomaly models list
    """
    from steervit.weights import hub

    if as_json:
        show_json([_entry(card) for card in hub.list_models()])
        return
    for card in hub.list_models():
        mark = "+" if card.commercial else " "
        click.echo(f"{card.name:24} {mark} {card.licence:14} {_where(card):13} {card.about}")
    click.echo(
        "\n+ may be used commercially. Fetch one with `steer-anomaly models pull NAME`. Sizes are of the whole\n"
        "download: checkpoint, image trunk, and the text encoder (1.4 GB, the same for all, fetched once);\n"
        "> where the publisher does not tell the size of a part."
    )


@models.command("pull")
@click.argument("name")
@click.option("--revision", help="Commit, tag or branch of the hub repository, instead of the pinned one.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Instead of the Hugging Face cache.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def pull_command(name: str, revision: str | None, cache_dir: Path | None, quiet: bool) -> None:
    """Fetch a model with its trunk and text encoder, resume what was interrupted, check every hash.

    \b
    Example:
      steer-anomaly models pull dinov2-commercial-base
    """
    from steervit.weights import hub

    with as_user_errors():
        card = hub.find(name)
        if card.embedded:
            click.echo(f"{card.name} comes with steer-anomaly: nothing to fetch")
            return
        if card.notice:
            click.echo(card.notice, err=True)
        paths = hub.pull(name, cache_dir, progress=not quiet, revision=revision)
    click.echo(f"checkpoint    {paths.checkpoint}\ntrunk         {paths.trunk}\ntext encoder  {paths.text}")


@models.command("info")
@click.argument("name_or_path")
def info_command(name_or_path: str) -> None:
    """What is known of a model, or what a checkpoint file or folder holds. Runs nothing from the file.

    \b
    Example:
      steer-anomaly models info nano
    """
    from steervit.weights import hub
    from steervit.weights.catalogue import is_name

    with as_user_errors():
        path = Path(name_or_path).expanduser()
        if not is_name(name_or_path) and path.exists():
            _show_file(path)
            return
        card = hub.find(name_or_path)
        _show_card(card)
        if (here := _checkpoint_here(card)) is not None:
            _show_file(here)


@models.command("convert")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
def convert_command(source: str, target: Path, force: bool) -> None:
    """Convert a checkpoint: IN is a file, a folder or a fetched model's name.

    OUT ending in .pth gets the published format; anything else is a folder (or a NAME.safetensors) in ours:
    safetensors beside a readable config. The weights stay the same, bit for bit.

    \b
    Example:
      steer-anomaly models convert steervit_dinov2_base.pth my-model
    """
    from steervit.weights.checkpoint import read_checkpoint, write_pth, write_safetensors

    with as_user_errors():
        _refuse_overwriting(target, force)
        checkpoint = read_checkpoint(_path_of(source))
        write = write_pth if target.suffix == ".pth" else write_safetensors
        written = write(target, checkpoint)
    click.echo(f"{written}: {len(checkpoint.state)} tensors, {checkpoint.parameters:,} parameters")


def _path_of(name_or_path: str) -> Path:
    from steervit.weights import hub
    from steervit.weights.catalogue import is_name

    path = Path(name_or_path).expanduser()
    if path.exists() and not is_name(name_or_path):
        return path
    return hub.locate(name_or_path).checkpoint


def _checkpoint_here(card: ModelCard) -> Path | None:
    from steervit.weights import hub

    try:
        path = hub.locate(card.name).checkpoint
    except FileNotFoundError:
        return None
    return path if path.exists() else None


def _where(card: ModelCard) -> str:
    if card.embedded:
        return "built in"
    if _checkpoint_here(card) is not None:
        return "fetched"
    size, whole = download_size(card)
    return f"{'' if whole else '> '}{size / 1e9:.1f} GB"


def download_size(card: ModelCard) -> tuple[int, bool]:
    """Bytes of checkpoint, trunk and text encoder together, and whether that is all of it: some sizes are not known."""
    from steervit.weights.catalogue import text_encoder_files, trunk_file

    if card.checkpoint is None:
        return 0, True
    trunk = trunk_file(card.trunk).bytes if card.trunk else None
    text = text_encoder_files(card.text or "roberta-large").weights.bytes
    sizes = (card.checkpoint.bytes, trunk, text)
    return sum(size or 0 for size in sizes), None not in sizes


def _entry(card: ModelCard) -> dict[str, Any]:
    size, whole = download_size(card)
    return {
        "name": card.name,
        "about": card.about,
        "licence": card.licence,
        "commercial": card.commercial,
        "embedded": card.embedded,
        "fetched": card.embedded or _checkpoint_here(card) is not None,
        "download_bytes": size,
        "download_bytes_complete": whole,
    }


def _refuse_overwriting(target: Path, force: bool) -> None:
    taken = target / "model.safetensors" if target.is_dir() else target
    if taken.exists() and not force:
        raise SteerAnomalyError(f"{taken} exists already: choose another OUT, or replace it with --force")


def _show_card(card: ModelCard) -> None:
    from steervit.weights.catalogue import NANO

    click.echo(f"{card.name}: {card.about}")
    click.echo(f"licence       {card.licence}{'' if card.commercial else ' (no commercial use)'}")
    if card.checkpoint is not None:
        file = card.checkpoint
        click.echo(f"hub           {file.repo}, {file.file}\nrevision      {file.revision}")
        click.echo(
            f"bytes         {file.bytes or 'not published'}\nsha256        {file.sha256 or 'not published'}"
        )
        click.echo(f"trunk         {card.trunk or 'named in the checkpoint'}\ntext encoder  {card.text}")
        if _checkpoint_here(card) is None:
            click.echo(f"not on this machine: steer-anomaly models pull {card.name}")
    elif (text := NANO / "MODEL_CARD.md").is_file():
        click.echo("\n" + text.read_text(encoding="utf-8").strip() + "\n")


def _show_file(path: Path) -> None:
    import yaml

    from steervit.weights.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path)
    ours = path.is_dir() or path.suffix == ".safetensors"
    click.echo(f"file          {path}")
    click.echo(f"format        {'safetensors with config' if ours else 'published .pth'}")
    click.echo(
        f"parameters    {checkpoint.parameters:,} ({_dtypes(checkpoint)}), trunk and text encoder not counted"
    )
    gates = ", ".join(f"{layer}: {value:+.4f}" for layer, value in checkpoint.gates.items())
    click.echo(f"gates         {gates or 'none'} (block: raw value, before tanh)")
    click.echo("config")
    text = yaml.safe_dump(checkpoint.config, sort_keys=False, allow_unicode=True, default_flow_style=None)
    click.echo("".join(f"  {line}\n" for line in text.splitlines()), nl=False)


def _dtypes(checkpoint: Checkpoint) -> str:
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state.values()}
    return ", ".join(sorted(kinds))
