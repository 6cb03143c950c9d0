"""Measures whether nano listens, on rendered scenes that were not trained on.

    python benchmarks/nano_text.py [--scenes 150] [--model nano]

Named: scenes with two kinds of defect that nobody confuses; the mass of a softmax map on the defect that the
prompt names, against the mass on the other one. Object: mean sigmoid on the part for "the <object>" against the
same with the name of something else; and on the defects, for "the anomaly in the <object>" likewise.
"""

from __future__ import annotations

import click
import numpy as np

FIRST_SEED = 850_000  # training takes others: from 0, and from 2**30


@click.command()
@click.option("--scenes", default=150, show_default=True, help="Scenes for each of the two questions.")
@click.option("--model", default="nano", show_default=True)
def main(scenes: int, model: str) -> None:
    """Print the ratios."""
    from anomaly.decision.threshold import TEXT_ALONE
    from anomaly.inspector import Inspector
    from anomaly.prompts import from_texts
    from steervit.nano.scenes.vocabulary import confusable, object_names

    def ask(text: str, image, name: str, activation: str):
        if (text, activation) not in asked:
            asked[text, activation] = Inspector(
                loaded, prompts=from_texts([text]), activation=activation, **TEXT_ALONE
            )
        return asked[text, activation].inspect(image, name).heatmap

    loaded, asked = Inspector(model).model, {}
    pairs = []
    for scene in _scenes(lambda s: len(s.kinds) == 2 and not confusable(s.kinds[0], s.kinds[1:]), scenes):
        for named, other in (scene.kinds, scene.kinds[::-1]):
            heat = ask(f"the {named} on the {{object}}", scene.image, scene.object_name, "softmax")
            apart = scene.layers[named] & ~scene.layers[other], scene.layers[other] & ~scene.layers[named]
            pairs.append([heat[mask].sum() / heat.sum() for mask in apart])
    mass = np.array(pairs)
    print(f"named: {mass[:, 0].mean():.3f} of the mass on the named defect, {mass[:, 1].mean():.3f} on the other: "
          f"{mass[:, 0].mean() / mass[:, 1].mean():.2f} times; more on the named one in "
          f"{(mass[:, 0] > mass[:, 1]).mean():.0%} of {len(mass)} questions")  # fmt: skip

    rng, answers = np.random.default_rng(0), []
    for scene in _scenes(lambda s: s.defects.any() and s.layers["object"].mean() < 0.8, scenes):
        wrong = str(
            rng.choice([n for n in object_names() if not set(n.split()) & set(scene.object_name.split())])
        )
        row = []
        for text, mask in (
            ("the {object}", scene.layers["object"]),
            ("the anomaly in the {object}", scene.defects),
        ):
            row += [
                ask(text, scene.image, name, "sigmoid")[mask].mean() for name in (scene.object_name, wrong)
            ]
        answers.append(row)
    means, each = np.mean(answers, 0), np.array(answers)
    print(f"object: {means[0]:.3f} on the part by its name, {means[1]:.3f} by another name "
          f"(lower in {(each[:, 1] < each[:, 0]).mean():.0%}); anomaly: {means[2]:.3f} and {means[3]:.3f} "
          f"(lower in {(each[:, 3] < each[:, 2]).mean():.0%}) of {len(answers)} scenes")  # fmt: skip


def _scenes(wanted, count: int):
    from steervit.nano.scenes.scene import render_scene

    seed = FIRST_SEED
    while count:
        scene = render_scene(seed, 384)
        seed += 1
        if wanted(scene):
            count -= 1
            yield scene


if __name__ == "__main__":
    main()
