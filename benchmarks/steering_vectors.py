"""A steering vector against sentences, on SteerViT: which finds defects better, each picture alone.

    python benchmarks/steering_vectors.py ROOT=OBJECT [ROOT=OBJECT ...] [--model nano] [--images 30] [--scenes 60]

ROOT holds test/KIND/ and ground_truth/KIND/. The head's map only, in logits at 256 x 256 pixels: no evidence, no
smoothing. A vector is made from the first five pictures of a set without looking at their masks, strength and blocks
are chosen on the pictures with an even number and every row is measured on those with an odd one.
The last table: scenes with two kinds of defect; the mass of a softmax map on the named one against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from evidence_weights import SIDE, figures, mask_of
from PIL import Image

from anomaly import prompts
from anomaly.pictures.images import read_image
from steervit import SteerViT
from steervit.inference.vectors import SteeringVector, encode_by_vector, extract_vector

ALPHAS = (0.5, 1.0, 2.0, 4.0)
FEW = 5  # pictures that a vector is made of
FIRST_SEED = 850_000  # of scenes that training never takes

Asked = Callable[[torch.Tensor], torch.Tensor]  # images (1, 3, S, S) -> logits (h*w,)


def by_vector(model: SteerViT, vector: SteeringVector, alpha: float, text: str | None = None) -> Asked:
    """Asks with a vector, and with a sentence beside it if given."""
    texts = None if text is None else [text]
    return lambda image: model.segment_tokens(encode_by_vector(model, image, vector, alpha, texts))[0]


def by_prompts(model: SteerViT, texts: Sequence[str], contrast: Sequence[str] = ()) -> Asked:
    """Asks with sentences: the mean of their maps, less the mean of the contrast's."""
    bank, against = model.prepare(texts), model.prepare(contrast) if contrast else None

    def ask(image: torch.Tensor) -> torch.Tensor:
        logits = model.segment(image, bank).logits[0].mean(0).flatten()
        return (
            logits if against is None else logits - model.segment(image, against).logits[0].mean(0).flatten()
        )

    return ask


def maps_of(model: SteerViT, images: list[torch.Tensor], ask: Asked) -> np.ndarray:
    """(N, SIDE, SIDE) logits."""
    small = [ask(one).detach().float().reshape(model.grid_size).numpy() for one in images]
    return np.stack([cv2.resize(one, (SIDE, SIDE)) for one in small])


def ways(model: SteerViT, name: str, few: list[torch.Tensor]) -> dict[str, list[Asked]]:
    """What is compared; where a way has several strengths, one is chosen."""
    whole = prompts.load("default")
    anomaly, plain = f"the anomaly in the {name}", f"the {name}"
    shift = extract_vector(model, few, anomaly, plain)
    against_none = extract_vector(model, few, anomaly, None)
    crack = extract_vector(model, few, f"the crack in the {name}", plain)
    stain = extract_vector(model, few, f"the stain on the {name}", plain)
    alone = {
        "vector, anomaly - part": shift,
        "vector, anomaly": against_none,
        "vector, probe": extract_vector(model, few, anomaly, plain, "probe"),
        "vector, crack + stain": crack + stain,
        "vector, - part": -extract_vector(model, few, plain, None),
    }
    found: dict[str, list[Asked]] = {
        "prompt ensemble": [by_prompts(model, whole.fill(name))],
        "one prompt": [by_prompts(model, [anomaly])],
        "prompt - part": [by_prompts(model, [anomaly], [plain])],
        "no text": [by_vector(model, shift, 0.0)],
    }
    for label, vector in alone.items():
        blocks = [vector, *(vector.only(i) for i in vector.layers)]
        found[label] = [by_vector(model, one, alpha) for one in blocks for alpha in ALPHAS]
    found["prompt + vector"] = [
        by_vector(model, shift, alpha, anomaly) for alpha in (-1.0, -0.5, 0.5, 1.0, 2.0)
    ]
    return found


def best(model: SteerViT, images: list[torch.Tensor], masks: list, asked: list[Asked]) -> Asked:
    """The one with the highest mean of pixel AUROC, PRO and F1-max."""
    if len(asked) == 1:
        return asked[0]
    scores = [np.mean(figures(maps_of(model, images, ask), masks)[:3]) for ask in asked]
    return asked[int(np.argmax(scores))]


def two_defects(model: SteerViT, count: int) -> dict[str, tuple[float, float]]:
    """Per way: mass on the named defect and on the other, means over scenes with two kinds."""
    from nano_text import _scenes

    from steervit.nano.scenes.vocabulary import confusable

    wanted = lambda s: len(s.kinds) == 2 and not confusable(s.kinds[0], s.kinds[1:])  # noqa: E731
    transform, found = model.get_transforms(), {}
    for scene in _scenes(wanted, count):
        image = transform(Image.fromarray(scene.image))[None]
        for named, other in (scene.kinds, scene.kinds[::-1]):
            sentence, plain = f"the {named} on the {scene.object_name}", f"the {scene.object_name}"
            vector = extract_vector(model, [image], sentence, plain)
            asked = {"prompt": by_prompts(model, [sentence]), "vector": by_vector(model, vector, 1.0),
                     "vector x 2": by_vector(model, vector, 2.0)}  # fmt: skip
            apart = scene.layers[named] & ~scene.layers[other], scene.layers[other] & ~scene.layers[named]
            for label, ask in asked.items():
                logits = ask(image).detach().float()
                heat = logits.softmax(0).reshape(model.grid_size).numpy()
                heat = cv2.resize(heat, scene.image.shape[1::-1])
                found.setdefault(label, []).append([heat[mask].sum() / heat.sum() for mask in apart])
    return {label: tuple(np.mean(rows, 0)) for label, rows in found.items()}


@click.command()
@click.argument("sets", nargs=-1, required=True)
@click.option("--model", "name_or_path", default="nano", show_default=True)
@click.option(
    "--images", default=30, show_default=True, help="Of each set, every n-th so that it is so many."
)
@click.option("--scenes", default=60, show_default=True)
def main(sets: tuple[str, ...], name_or_path: str, images: int, scenes: int) -> None:
    """See the top of this file."""
    model = SteerViT.from_pretrained(name_or_path)
    transform = model.get_transforms()
    rows: dict[str, list[list[float]]] = {}
    for root, name in (one.split("=", 1) for one in sets):
        paths = sorted(path for path in Path(root).glob("test/*/*") if path.is_file())
        paths = paths[:: max(1, len(paths) // images)]
        pictures = [transform(Image.fromarray(read_image(path)))[None] for path in paths]
        masks = [mask_of(path) for path in paths]
        for label, asked in ways(model, name, pictures[:FEW]).items():
            ask = best(model, pictures[::2], masks[::2], asked)
            rows.setdefault(label, []).append(figures(maps_of(model, pictures[1::2], ask), masks[1::2]))
    click.echo("| way | mean | " + " | ".join(sets) + " |")
    for label, each in rows.items():
        cells = ["{:.1f}/{:.1f}/{:.1f}".format(*row[:3]) for row in [np.nanmean(each, 0).tolist(), *each]]
        click.echo(f"| {label} | " + " | ".join(cells) + " |")
    for label, (named, other) in two_defects(model, scenes).items():
        click.echo(
            f"{label}: {named:.3f} of the mass on the named defect, {other:.3f} on the other: {named / other:.2f} times"
        )


if __name__ == "__main__":
    main()
