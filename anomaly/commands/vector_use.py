"""`steer-anomaly vectors grid | apply`: which layer and how strongly, and a vector at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.sections import SectionedCommand

if TYPE_CHECKING:
    from steervit.inference.vectors import SteeringVector

FILE = click.Path(path_type=Path)
DTYPES = click.Choice(["float32", "bfloat16", "float16"])
PLACES = click.Choice(["image", "text", "both"])


@click.command("grid", cls=SectionedCommand)
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
    from anomaly.multimodal.answering import load_answering
    from anomaly.multimodal.cv_bench import load_questions, split
    from anomaly.multimodal.grid import RAW, UNIT, run_grid
    from steervit.inference.vectors import load_vector, save_vector

    with as_user_errors():
        vector = load_vector(given["vector"])
    choice, test = split(load_questions(given["data"]), given["task"], given["test"])
    layers = layer_numbers(given["layers"]) if given["layers"] else sorted(vector.layers)
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


@click.command("apply", cls=SectionedCommand)
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
        image = tensor_of(model, read_image(path))[None]
        tokens = encode_by_vector(model, image, vector, given["alpha"], texts, given["on"])
        chances = model.segment_tokens(tokens).detach().float().sigmoid().reshape(model.grid_size)
        picture = Image.fromarray((255 * chances).byte().numpy()).resize(model.image_size[::-1])
        picture.save(given["out"] / f"{path.stem}.png")
        click.echo(f"{path}: highest {float(chances.max()):.4f}, {given['out'] / path.stem}.png")


def layer_numbers(text: str) -> list[int]:
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


def tensor_of(model: Any, image: Any) -> Any:
    from PIL import Image

    return model.get_transforms()(Image.fromarray(image))
