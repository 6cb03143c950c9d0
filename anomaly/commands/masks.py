"""`steer-anomaly train masks`: masks from boxes by SAM 2, as parquet shards that the training sources read."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly.commands.extras import need
from anomaly.errors import SteerAnomalyError


@click.command("masks")
@click.argument("root", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the shards.")
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder with VG_100K and VG_100K_2.  [default: ROOT]"
)
@click.option("--model", default="facebook/sam2.1-hiera-large", show_default=True, help="Hub name or folder.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="On this machine.")
@click.option(
    "--part", default="1/1", show_default=True, help="This machine's share, such as 2/8 on the second of 8."
)
@click.option("--images-per-shard", type=click.IntRange(1), default=250, show_default=True)
@click.option(
    "--boxes-at-once", type=click.IntRange(1), default=64, show_default=True, help="Bounds the memory."
)
def masks(
    root: Path,
    out: Path,
    images: Path | None,
    model: str,
    device: str,
    precision: str,
    processes: int,
    part: str,
    images_per_shard: int,
    boxes_at_once: int,
) -> None:
    """Turn the boxes of Visual Genome (in ROOT) into masks with SAM 2. Run again, it goes on where it stopped.

    Each mask comes with SAM 2's own estimate of its quality (IoU, 0..1); a recipe may ask for at least so much
    with `min_quality`.

    \b
    Example:
      steer-anomaly train masks data/vg --out data/vg-masks --processes 4 --precision bf16
    """
    from tqdm import tqdm

    from steervit.training.masks.mask_workers import MaskJob, run
    from steervit.training.masks.segment_anything import visual_genome_boxes

    number, parts = _share(part)
    need("train", "writing masks as shards")
    try:
        boxes = visual_genome_boxes(root, images)
        missing = sum(image.path is None for image in boxes)
        click.echo(
            f"{len(boxes):,} images with {sum(len(i.boxes) for i in boxes):,} boxes; {missing:,} missing"
        )
        job = MaskJob(boxes, out, model, device, precision, images_per_shard, boxes_at_once, number, parts)
        with tqdm(total=_images_of(len(boxes), images_per_shard, number, parts), unit="image") as bar:
            made = run(job, processes, lambda count: bar.update(count) and None)
        click.echo(_summary(out, made))
    except (ValueError, OSError, RuntimeError) as error:
        raise SteerAnomalyError(str(error)) from error


def _share(part: str) -> tuple[int, int]:
    number, _, parts = part.partition("/")
    if not (number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        raise click.UsageError(f"expected --part as 2/8 (the second of eight machines), got {part!r}")
    return int(number) - 1, int(parts)


def _images_of(images: int, per_shard: int, number: int, parts: int) -> int:
    starts = range(0, images, per_shard)[number::parts]
    return sum(min(per_shard, images - start) for start in starts)


def _summary(out: Path, made: int) -> str:
    import pyarrow.parquet as pq

    from steervit.training.masks.mask_shards import shard_files

    files = shard_files(out)
    columns = [pq.read_table(file, columns=["counts", "quality"]) for file in files]
    regions = sum(len(table) for table in columns)
    without = sum(table.column("counts").null_count for table in columns)
    good = sum(
        sum(1 for q in table.column("quality").to_pylist() if q is not None and q >= 0.7) for table in columns
    )
    return (
        f"{made} shards made, {len(files)} in {out}: {regions:,} regions, {without:,} without a mask, "
        f"{good:,} of quality 0.7 or more"
    )
