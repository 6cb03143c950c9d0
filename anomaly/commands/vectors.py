"""`steer-anomaly vectors extract | grid | apply | show | concepts`: steering by a vector in place of a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.sections import SectionedCommand

if TYPE_CHECKING:
    from steervit.inference.vectors import SteeringVector

FILE = click.Path(path_type=Path)
DTYPES = click.Choice(["float32", "bfloat16", "float16"])
PLACES = click.Choice(["image", "text", "both"])


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
        batches = [torch.stack([_tensor(model, read_image(path))]) for path in paths]
        method = "probe" if given["method"] == "probe" else "shift"
        return extract_vector(model, batches, sentences[0], sentences[1], method)


def _tensor(model: Any, image: Any) -> Any:
    from PIL import Image

    return model.get_transforms()(Image.fromarray(image))


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
        layers = list(autoencoders) or [one for one in _numbers(given["layers"]) if one in states.target]
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


def _numbers(text: str) -> list[int]:
    try:
        first, dash, last = text.partition("-")
        return list(range(int(first), int(last) + 1)) if dash else [int(one) for one in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"expected layers such as 5-20 or 5,8, got {text!r}") from error


def _floats(text: str | None) -> list[float]:
    try:
        return [float(one) for one in text.split(",")] if text else []
    except ValueError as error:
        raise click.UsageError(f"expected numbers such as 0.1,0.2, got {text!r}") from error


@vectors.command("grid", cls=SectionedCommand)
@click.option("--model", type=FILE, required=True, metavar="DIR", help="PaliGemma, Gemma 3 or Idefics3.")
@click.option(
    "--vector",
    type=FILE,
    required=True,
    metavar="FILE",
    help="What `vectors extract --language-model` wrote.",
)
@click.option("--data", type=FILE, required=True, metavar="DIR", help="CV-Bench, its parquet files.")
@click.option("--task", type=click.Choice(["Count", "Relation", "Depth", "Distance"]), required=True)
@click.option("--layers", metavar="A-B|A,B", help="[default: those of the vector]")
@click.option("--alphas", metavar="A,B,...", help="[default: 0.1 to 1.2; 5 to 60 for vectors at length 1]")
@click.option("--on", type=PLACES, default="image", show_default=True, help="Which tokens get the vector.")
@click.option(
    "--test", type=click.IntRange(1), default=150, show_default=True, help="Questions kept for the test."
)
@click.option("--dtype", type=DTYPES, default="float32", show_default=True)
@click.option("--out", type=FILE, required=True, metavar="DIR", help="grid.json, and the chosen vector.")
def grid(**given: Any) -> None:
    """Choose layer and strength on CV-Bench questions that are not the test's; then the test, once."""
    from anomaly.commands.extras import need

    need("train", "vectors grid, which reads parquet files,")
    from anomaly.errors import as_user_errors
    from anomaly.multimodal.cv_bench import load_questions, split
    from anomaly.multimodal.grid import RAW, UNIT, run_grid
    from anomaly.multimodal.answering import load_answering
    from steervit.inference.vectors import load_vector, save_vector

    with as_user_errors():
        vector = load_vector(given["vector"])
    choice, test = split(load_questions(given["data"]), given["task"], given["test"])
    layers = _numbers(given["layers"]) if given["layers"] else sorted(vector.layers)
    at_length_one = vector.provenance.get("normalised") or vector.provenance.get("method") in ("probe", "sae")
    alphas = _floats(given["alphas"]) or list(UNIT if at_length_one else RAW)
    answering = load_answering(given["model"], given["dtype"])

    def accuracy(layer: int, alpha: float, which: str) -> tuple[float, int]:
        direction = vector.layers[layer] if alpha else None
        return answering.accuracy(choice if which == "choice" else test, direction, layer, alpha, given["on"])

    settings = {name: str(given[name]) for name in ("model", "task", "on", "test")} | {
        "layers": layers, "alphas": alphas, "vector": dict(vector.provenance)}  # fmt: skip
    found = run_grid(accuracy, layers, alphas, given["out"] / "grid.json", settings)
    plain, steered, best = found["test"]["plain"], found["test"]["steered"], found["best"]
    if best["alpha"]:
        save_vector(vector.only(best["layer"]) * best["alpha"], given["out"] / "chosen.safetensors")
    click.echo(
        f"{given['task']}: test {100 * plain['correct']:.1f} % as it is, {100 * steered['correct']:.1f} % with alpha "
        f"{best['alpha']:g} at layer {best['layer']} ({steered['questions']} questions)"
    )


@vectors.command("apply", cls=SectionedCommand)
@click.argument("pictures", nargs=-1, required=True)
@click.option(
    "--model", required=True, metavar="NAME_OR_PATH", help="A SteerViT, or the folder of a multimodal model."
)
@click.option("--vector", type=FILE, required=True, metavar="FILE")
@click.option("--alpha", default=1.0, show_default=True, help="Strength.")
@click.option(
    "--layer", type=int, help="Decoder layer or block.  [default: all of the vector's for a SteerViT]"
)
@click.option("--question", help="For a multimodal model: what to ask about each picture.")
@click.option("--on", type=PLACES, default="image", show_default=True, help="Which tokens get the vector.")
@click.option("--text", help="For a SteerViT: a sentence beside the vector.")
@click.option(
    "--out",
    type=FILE,
    default="vectors-out",
    show_default=True,
    metavar="DIR",
    help="Heatmaps of a SteerViT.",
)
def apply(pictures: tuple[str, ...], **given: Any) -> None:
    """Use a vector: heatmaps of a SteerViT without a sentence, or a multimodal model's answer."""
    from anomaly.errors import as_user_errors
    from anomaly.pictures.inputs import collect
    from steervit.inference.vectors import load_vector

    with as_user_errors():
        vector = load_vector(given["vector"])
        if given["layer"] is not None:
            vector = vector.only(given["layer"])
        paths = collect(pictures)
        if vector.provenance.get("kind") == "decoder" or given["question"]:
            _answers(paths, vector, given)
        else:
            _heatmaps(paths, vector, given)


def _answers(paths: list[Path], vector: SteeringVector, given: dict[str, Any]) -> None:
    from PIL import Image

    from anomaly.multimodal.answering import load_answering
    from anomaly.pictures.images import read_image

    if not given["question"]:
        raise click.UsageError("a vector of a language model needs --question")
    layer = given["layer"] if given["layer"] is not None else max(vector.layers)
    answering = load_answering(given["model"])
    for path in paths:
        image = Image.fromarray(read_image(path))
        said = answering.ask(
            image, given["question"], vector.layers[layer], layer, given["alpha"], given["on"]
        )
        click.echo(f"{path}: {said}")


def _heatmaps(paths: list[Path], vector: SteeringVector, given: dict[str, Any]) -> None:
    from PIL import Image

    from anomaly.pictures.images import read_image
    from steervit import SteerViT
    from steervit.inference.vectors import encode_by_vector

    model = SteerViT.from_pretrained(given["model"])
    given["out"].mkdir(parents=True, exist_ok=True)
    texts = None if given["text"] is None else [given["text"]]
    for path in paths:
        image = _tensor(model, read_image(path))[None]
        tokens = encode_by_vector(model, image, vector, given["alpha"], texts, given["on"])
        chances = model.segment_tokens(tokens).detach().float().sigmoid().reshape(model.grid_size)
        picture = Image.fromarray((255 * chances).byte().numpy()).resize(model.image_size[::-1])
        picture.save(given["out"] / f"{path.stem}.png")
        click.echo(f"{path}: highest {float(chances.max()):.4f}, {given['out'] / path.stem}.png")


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
