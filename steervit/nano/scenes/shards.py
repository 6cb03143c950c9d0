"""Write scenes to npz shards and read them back. Run as a module to fill a folder with training data.

A shard holds `images` (N x H x W x 3 uint8), `masks` (bit-packed, deflated, each mask of a scene once) and `index`,
a JSON text with every scene's object and sentences.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np

from .fields import Array, Rng
from .photos import PhotoSource
from .scene import Scene, render_scene
from .sentences import Sentence, sentences

_MOST_SENTENCES = 12


@dataclass(frozen=True)
class StoredScene:
    """One scene of a shard: the image (RGB uint8), what the object is called, and its sentences."""

    seed: int
    image: Array
    object_name: str
    sentences: list[Sentence]


def render_shards(
    out_dir: str | Path,
    start_seed: int,
    count: int,
    size: int = 256,
    per_shard: int = 250,
    draw: Callable[[Rng], Scene] | None = None,
) -> list[Path]:
    """Render scenes `start_seed` .. `start_seed + count - 1` into shards of `per_shard`; existing shards are kept.

    `draw` makes the scene of a generator, `size` pixels square; by default `render_scene` without photographs.
    A shard appears under its name only when it is whole, so an interrupted run can be started again.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(start_seed, start_seed + count, per_shard):
        last = min(first + per_shard, start_seed + count)
        path = folder / f"scenes-{first:08d}-{last:08d}-{size}.npz"
        paths.append(path)
        if not path.exists():
            _write(path, range(first, last), draw or partial(render_scene, size=size))
    return paths


def _write(path: Path, seeds: range, draw: Callable[[Rng], Scene]) -> None:
    images, masks, index = [], [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        scene = draw(rng)
        images.append(scene.image)
        entry, packed = _describe(seed, scene, rng)
        index.append(entry)
        masks.append(packed)
    blob = np.frombuffer(b"".join(masks), np.uint8)
    unfinished = path.with_suffix(".part")
    with open(unfinished, "wb") as file:
        np.savez(file, images=np.stack(images), masks=blob, index=np.array(json.dumps(index)))
    unfinished.replace(path)


def _describe(seed: int, scene: Scene, rng: Rng) -> tuple[dict, bytes]:
    """A scene's entry in the index, and its masks packed."""
    chosen = choose(sentences(scene, rng), rng)
    masks: dict[bytes, int] = {}
    said = []
    for sentence in chosen:
        number = masks.setdefault(np.packbits(sentence.mask).tobytes(), len(masks))
        said.append([sentence.text, sentence.kind, number, sentence.names])
    packed = zlib.compress(b"".join(masks), 6)
    entry = {"seed": seed, "object": scene.object_name, "bytes": len(packed), "sentences": said}
    return entry | {"kinds": scene.kinds, "material": scene.material}, packed


def choose(said: list[Sentence], rng: Rng) -> list[Sentence]:
    """At most twelve sentences: the first on all defects always, then a random choice, in their old order."""
    if len(said) <= _MOST_SENTENCES:
        return said
    kept = rng.choice(np.arange(1, len(said)), _MOST_SENTENCES - 1, replace=False)
    return [said[0], *(said[i] for i in sorted(kept))]


def read_shard(path: str | Path) -> Iterator[StoredScene]:
    """The scenes of a shard, in order of their seeds. Raises ValueError for a file that is no shard."""
    with np.load(path, allow_pickle=False) as stored:
        if not {"images", "masks", "index"} <= set(stored.files):
            raise ValueError(f"expected a shard with images, masks and index, found {stored.files} in {path}")
        images, blob, index = stored["images"], stored["masks"].tobytes(), json.loads(str(stored["index"]))
    height, width = images.shape[1:3]
    offset = 0
    for image, entry in zip(images, index, strict=True):
        packed = zlib.decompress(blob[offset : offset + entry["bytes"]])
        offset += entry["bytes"]
        bits = np.frombuffer(packed, np.uint8).reshape(-1, -(-height * width // 8))
        masks = np.unpackbits(bits, axis=1, count=height * width).reshape(-1, height, width).astype(bool)
        said = [
            Sentence(text, masks[number], kind, *names) for text, kind, number, *names in entry["sentences"]
        ]
        yield StoredScene(entry["seed"], image, entry["object"], said)


@click.command()
@click.option(
    "--out", "out_dir", required=True, type=click.Path(path_type=Path), help="Folder for the shards."
)
@click.option("--start", "start_seed", default=0, show_default=True, help="First seed.")
@click.option("--count", default=1000, show_default=True, help="How many scenes.")
@click.option("--size", default=256, show_default=True, help="Side of the images in pixels.")
@click.option("--several", is_flag=True, help="Two to four defects in every scene, of kinds nobody confuses.")
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of photographs."
)
def main(out_dir: Path, start_seed: int, count: int, size: int, several: bool, photos: Path | None) -> None:
    """Render inspection scenes into npz shards.

    Example: python -m steervit.nano.scenes.shards --out scenes --start 0 --count 1000
    """
    import cv2

    cv2.setNumThreads(1)
    source = PhotoSource(photos) if photos else None
    draw = partial(render_scene, size=size, photos=source, several=several)
    paths = render_shards(out_dir, start_seed, count, size, draw=draw)
    click.echo(f"{count} scenes in {len(paths)} shards in {out_dir}")


if __name__ == "__main__":
    main()
