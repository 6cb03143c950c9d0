"""Makes nano from nothing: render scenes, cache what the fixed filters see, train, export.

    python -m steervit.training.make_nano --out runs/nano [--photos DIR] [--scenes 5000] [--steps 2600]

Every stage keeps what is finished, so an interrupted command continues when it is run again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for shards and checkpoints."
)
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False), help="Photographs to paint defects on."
)
@click.option("--scenes", default=5_000, show_default=True, help="Scenes to render; seeds from 1,000 on.")
@click.option("--steps", default=2_600, show_default=True, help="Training steps.")
def main(out: Path, photos: str | None, scenes: int, steps: int) -> None:
    """Render, cache, train and export; the model is then in OUT/export."""
    import cv2
    from tqdm import tqdm

    from steervit.training.feature_cache import SceneData, cache_shard
    from steervit.training.nano import NanoRecipe, export, train_nano
    from steervit.training.rendering.photos import PhotoSource
    from steervit.training.rendering.shards import render_shards

    cv2.setNumThreads(1)
    out.mkdir(parents=True, exist_ok=True)
    source = PhotoSource(photos) if photos else None
    cached = []
    for start in tqdm(range(1_000, 1_000 + scenes, 250), unit="shard"):
        count = min(250, 1_000 + scenes - start)
        shard = render_shards(out / "scenes", start, count, 256, source)[0]
        cached.append(cache_shard(shard, out))
    recipe = replace(NanoRecipe(), steps=steps)
    export(train_nano(SceneData.load(cached), out, recipe), out / "export")
    click.echo(f"steer-anomaly inspect --model {out / 'export'} --object NAME IMAGES")


if __name__ == "__main__":
    main()
