"""`steer-anomaly vectors extract | grid | apply | show | concepts`: steering by a vector in place of a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.sections import SectionedCommand
from anomaly.commands.vector_use import DTYPES, FILE, apply, grid, layer_numbers, tensor_of

if TYPE_CHECKING:
    from steervit.inference.vectors import SteeringVector


@click.group()
def vectors() -> None:
    """Steering vectors: of SteerViT models, and of multimodal language models (arXiv 2505.14071)."""


@vectors.command("extract", cls=SectionedCommand)
@click.argument("pictures", nargs=-1)
@click.option(
    "--model", metavar="NAME_OR_PATH", help="A SteerViT; PICTURES are what it looks at, without labels."
)
@click.option(
    "--object", "part", default="object", show_default=True, help="Fills {object} in the sentences."
)
@click.option(
    "--anchor", default="the anomaly in the {object}", show_default=True, help="The sentence to stand in for."
)
@click.option(
    "--control", default="the {object}", show_default=True, help="The sentence to subtract; '' for none."
)
@click.option("--language-model", type=FILE, metavar="DIR", help="A language model, in place of --model.")
@click.option("--concept", metavar="NAME|FILE", help="Its sentences: see `vectors concepts`.")
@click.option("--layers", default="5-20", show_default=True, metavar="A-B|A,B", help="Decoder layers.")
@click.option(
    "--method", type=click.Choice(["mean-shift", "probe", "sae"]), default="mean-shift", show_default=True
)
@click.option("--unit", is_flag=True, help="Mean shifts at length 1.")
@click.option(
    "--sae",
    "autoencoders",
    multiple=True,
    metavar="LAYER=FILE",
    help="Gemma Scope or Llama Scope parameters.",
)
@click.option(
    "--features",
    type=FILE,
    metavar="FILE",
    help="JSON of feature ids by layer, in place of those that fire most.",
)
@click.option("--dtype", type=DTYPES, default="float32", show_default=True, help="Of the language model.")
@click.option("--out", type=FILE, required=True, metavar="FILE", help="A safetensors file.")
def extract(**given: Any) -> None:
    """Make a vector.

    \b
    Examples:
      steer-anomaly vectors extract --model nano --object bottle --out bottle.safetensors img/
      steer-anomaly vectors extract --language-model gemma-2-2b --concept counting --out counting.safetensors
    """
    if bool(given["model"]) == bool(given["language_model"]):
        raise click.UsageError(
            "expected --model and pictures, or --language-model and --concept: one of the two"
        )
    found = _of_steervit(given) if given["model"] else _of_language_model(given)
    from steervit.inference.vectors import save_vector

    save_vector(found, given["out"])
    click.echo(f"{_about(found)}\n{given['out']}")


def _of_steervit(given: dict[str, Any]) -> SteeringVector:
    import torch

    from anomaly.errors import SteerAnomalyError, as_user_errors
    from anomaly.pictures.images import read_image
    from anomaly.pictures.inputs import collect
    from steervit import SteerViT
    from steervit.inference.vectors import extract_vector

    paths = collect(given["pictures"]) if given["pictures"] else []
    if not paths:
        raise SteerAnomalyError(
            "expected pictures to extract the vector from, got none: name a folder or files"
        )
    with as_user_errors():
        model = SteerViT.from_pretrained(given["model"])
        sentences = [given[name].replace("{object}", given["part"]) or None for name in ("anchor", "control")]
        if sentences[0] is None:
            raise SteerAnomalyError("expected a sentence as --anchor, got none")
        batches = [torch.stack([tensor_of(model, read_image(path))]) for path in paths]
        method = "probe" if given["method"] == "probe" else "shift"
        return extract_vector(model, batches, sentences[0], sentences[1], method)


def _of_language_model(given: dict[str, Any]) -> SteeringVector:
    from dataclasses import replace

    from anomaly.errors import as_user_errors
    from anomaly.multimodal.concepts import load_concept
    from anomaly.multimodal.text_states import load_text_model, states_of, vector_of
    from steervit.inference.directions import load_autoencoder

    if not given["concept"]:
        raise click.UsageError(
            "--language-model needs --concept; `steer-anomaly vectors concepts` lists them"
        )
    concept = load_concept(given["concept"])
    pairs = dict(_of_layer(one) for one in given["autoencoders"])
    with as_user_errors():
        autoencoders = {layer: load_autoencoder(path) for layer, path in pairs.items()}
        features = (
            {int(k): v for k, v in json.loads(given["features"].read_text()).items()}
            if given["features"]
            else {}
        )
        model, tokenizer = load_text_model(given["language_model"], given["dtype"])
        states = states_of(model, tokenizer, concept)
        layers = list(autoencoders) or [one for one in layer_numbers(given["layers"]) if one in states.target]
        found = vector_of(states, layers, given["method"], given["unit"], autoencoders, features)
    about = {
        "concept": concept.name,
        "pairs": len(concept.pairs),
        "language_model": given["language_model"].name,
    }
    return replace(found, provenance={**found.provenance, **about})


def _of_layer(text: str) -> tuple[int, Path]:
    layer, _, path = text.partition("=")
    if not layer.isdigit() or not path:
        raise click.UsageError(f"expected --sae LAYER=FILE, got {text!r}")
    return int(layer), Path(path)


@vectors.command("show")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(file: Path, as_json: bool) -> None:
    """What a vector is made of, and how long it is at each place."""
    from anomaly.errors import as_user_errors
    from steervit.inference.vectors import load_vector

    with as_user_errors():
        vector = load_vector(file)
    if as_json:
        lengths = {str(i): float(one.norm()) for i, one in vector.layers.items()}
        click.echo(json.dumps({"provenance": dict(vector.provenance), "length": lengths}))
    else:
        click.echo(_about(vector))


def _about(vector: SteeringVector) -> str:
    lines = [f"{name}: {value}" for name, value in vector.provenance.items()]
    lines += [
        f"layer {i}: width {len(one)}, length {float(one.norm()):.4g}"
        for i, one in sorted(vector.layers.items())
    ]
    return "\n".join(lines)


@vectors.command("concepts")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def concepts(as_json: bool) -> None:
    """The shipped concepts, each twenty sentences with their target words."""
    from anomaly.multimodal.concepts import load_concept, names

    found = [load_concept(name) for name in names()]
    if as_json:
        click.echo(
            json.dumps(
                [{"name": one.name, "pairs": len(one.pairs), "about": one.description} for one in found]
            )
        )
    else:
        for one in found:
            click.echo(f"{one.name:<18} {len(one.pairs)} pairs  {one.description}")


vectors.add_command(grid)
vectors.add_command(apply)
