"""One table: torch, OpenVINO and ONNX Runtime in every precision they have, batch 1 and 8, for nano and ViT-B/14.

    python benchmarks/runtimes.py [--resolution 384] [--repeats 3]
    python benchmarks/runtimes.py --model vit_base_patch14_dinov2.lvd142m --ensemble fused --repeats 2

Every way runs in turn in every repeat, so that a busy machine slows them alike. `share of peak` is what of this run's
own best square matrix product (in that precision; fp32's for int8) the counted products and convolutions reach. Parity
is against torch in fp32 on the same tiles: largest difference of a logit, and Spearman's correlation of maps. ViT-B has
random weights.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from ensemble import matmul_peak, random_model

from anomaly import Inspector, threads
from anomaly.bundle.bundled_model import FILTERED, LOOK
from anomaly.bundle.graphs import entering, looking
from anomaly.bundle.looking import Looking
from anomaly.bundle.parity import correlation
from anomaly.bundle.quantising import quantise
from anomaly.bundle.runtimes import open_graph
from anomaly.pictures.sizes import picture_at
from steervit.inference.onnx_file import write_onnx
from steervit.inference.traced import PatchGraph, PromptGraph

RUNTIMES = (
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
)
PART = "bottle"
CALIBRATING = 4  # pictures for int8: enough to time it; a bundle takes 64


def inspector_of(name: str, resolution: int | None, ensemble: str | None = None) -> Inspector:
    """nano at its own or another resolution, or a SteerViT of the published architecture with random weights."""
    if name != "nano":
        return Inspector(random_model(name, resolution or 336), ensemble=ensemble)
    return Inspector("nano" if resolution is None else nano_at(resolution), ensemble=ensemble)


def nano_at(resolution: int):
    """nano for images of another side, a multiple of its patch; position embeddings are resampled."""
    from dataclasses import replace

    from steervit.weights.finding import find_parts
    from steervit.weights.loading import load_parts

    parts = find_parts("nano")
    vision = parts.checkpoint.config["vision_encoder"] | {"resolution": resolution}
    config = parts.checkpoint.config | {"vision_encoder": vision}
    return load_parts(replace(parts, checkpoint=replace(parts.checkpoint, config=config)), "nano")


def patch_of(inspector: Inspector) -> int:
    """Pixels along a side of a patch."""
    return inspector.asked.image_size[0] // inspector.asked.grid_size[0]


def tiles_of(inspector: Inspector, count: int) -> np.ndarray:
    """Rendered scenes as the model sees them, uint8 (count, S, S, 3)."""
    from steervit.nano.scenes.scene import render_scene

    size = inspector.asked.image_size
    scenes = [render_scene(950_000 + number, 320).image for number in range(count)]
    return np.stack([picture_at(one, size) for one in scenes])


def counted(inspector: Inspector) -> float:
    """FLOP of one image: products and convolutions of the graphs as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    model: Any = inspector.asked
    look, steer = (
        PatchGraph(model.steervit, *model.normalisation),
        PromptGraph(model.steervit, model.bank(PART)),
    )
    # With gradients, since without them products are oneDNN's own, which are not counted.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        steer(look(torch.from_numpy(tiles_of(inspector, 1))))
    return float(counter.get_total_flops())


def written(
    inspector: Inspector, folder: Path, looks: dict[str, Path] | None = None
) -> tuple[dict[str, Path], Path]:
    """The graphs in fp32, as ONNX files for both runtimes: those that look, unless they are there, and what text
    steers."""
    model: Any = inspector.asked
    folder.mkdir(parents=True)
    if looks is None:
        looks = {}
        for name, (graph, example, outputs) in looking(model).items():
            looks[name] = folder / f"{name}.onnx"
            write_onnx(graph, example, looks[name], ["given"], outputs)
    steer = folder / "steer.onnx"
    tokens = entering(model, tiles_of(inspector, 2))
    write_onnx(PromptGraph(model.steervit, model.bank(PART)), tokens, steer, ["given"], ["logits", "patches"])
    return looks, steer


def quantised(steer: Path, look: Any, tiles: np.ndarray, runtime: str) -> Path:
    """`steer` in int8, calibrated on tiles: a file beside it."""
    path = steer.with_name(f"{runtime}-int8.onnx")
    path.write_bytes(steer.read_bytes())
    samples = [look(one[None])[0] for one in tiles]
    if runtime == "onnx":
        quantise(path, samples)
        return path
    import openvino

    converted = path.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(path), converted, compress_to_fp16=False)
    quantise(path, samples, converted)
    return converted


def run_by(
    runtime: str,
    precision: str,
    looks: dict[str, Path],
    steer: Path,
    patch: int,
    calibrating: np.ndarray | None = None,
) -> Any:
    """A function from tiles to logits, run by `runtime`, and nano's filters (`patch` pixels) as in a bundle."""
    graphs = {name: open_graph(path, runtime, "fp32", threads.chosen()) for name, path in looks.items()}
    look: Any = graphs[LOOK] if FILTERED not in graphs else Looking(patch, graphs[FILTERED], graphs.get(LOOK))
    if precision == "int8":
        assert calibrating is not None
        steer = quantised(steer, look, calibrating, runtime)
    steering = open_graph(steer, runtime, precision, threads.chosen())
    return lambda tiles: steering(look(tiles)[0])[0]


@click.command()
@click.option("--model", default="nano", show_default=True, help="nano, or a timm name (random weights).")
@click.option("--resolution", type=int, help="Image side in px.  [default: nano's own, else 336]")
@click.option("--repeats", default=3, show_default=True)
@click.option("--batches", default="1,8", show_default=True)
@click.option("--ensemble", type=click.Choice(["fused"]), help="Ten prompts as one.")
def main(model: str, resolution: int | None, repeats: int, batches: str, ensemble: str | None) -> None:
    """Print the table."""
    threads.use()
    inspector = inspector_of(model, resolution, ensemble)
    asked: Any = inspector.asked
    low = asked.steervit.view(dtype=torch.bfloat16)
    bank, low_bank = asked.bank(PART), asked.bank(PART).to(torch.bfloat16)
    ways: dict[str, Any] = {
        "torch fp32": lambda tiles: asked.segment(tiles, PART).maps,
        "torch bf16": lambda tiles: low.segment(asked.pixels(tiles), low_bank).maps,
    }
    with TemporaryDirectory() as folder:
        looks, steer = written(inspector, Path(folder, "fp32"))
        for runtime, precision in RUNTIMES:
            calibrating = tiles_of(inspector, CALIBRATING) if precision == "int8" else None
            ways[f"{runtime} {precision}"] = run_by(
                runtime, precision, looks, steer, patch_of(inspector), calibrating
            )
        peaks = {"fp32": matmul_peak(torch.float32), "bf16": matmul_peak(torch.bfloat16)}
        work = counted(inspector)
        print(f"{model}, {asked.image_size[0]} px, {len(bank)} prompts in a pass, {work / 1e9:.1f} GFLOP an image, "
              f"{threads.chosen()} threads, median of {repeats}; peak fp32 {peaks['fp32'] / 1e9:.0f}, bf16 "
              f"{peaks['bf16'] / 1e9:.0f} GFLOP/s\n")  # fmt: skip
        print(
            "| way | batch | s per image | of torch fp32 | CPU s | share of peak | largest difference | rank |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for batch in map(int, batches.split(",")):
            measured(ways, tiles_of(inspector, batch), repeats, work, peaks)


def measured(
    ways: dict[str, Any], tiles: np.ndarray, repeats: int, work: float, peaks: dict[str, float]
) -> None:
    """Time every way on the same tiles, by turns, and print its rows."""
    maps = {name: run(tiles) for name, run in ways.items()}  # warm-up
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            began = time.perf_counter(), time.process_time()
            run(tiles)
            ended = time.perf_counter(), time.process_time()
            seconds[name].append(tuple((b - a) / len(tiles) for a, b in zip(began, ended, strict=True)))
    base = next(iter(ways))
    for name in ways:
        mid, cpu = (statistics.median(one[k] for one in seconds[name]) for k in (0, 1))
        ratio = statistics.median(b[0] / a[0] for a, b in zip(seconds[base], seconds[name], strict=True))
        share = work / mid / peaks["bf16" if name.endswith("bf16") else "fp32"]
        difference = float(np.abs(maps[name] - maps[base]).max())
        rank = np.mean(
            [correlation(a, b) for a, b in zip(maps[name].mean(1), maps[base].mean(1), strict=True)]
        )
        print(
            f"| {name} | {len(tiles)} | {mid:.3f} | {ratio:.2f} | {cpu:.3f} | {share:.0%} | {difference:.1e} | "
            f"{rank:.6f} |"
        )


if __name__ == "__main__":
    main()
