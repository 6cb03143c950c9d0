"""How fast a ten-prompt ensemble is against one `get_heatmaps` call per prompt (random weights).

    python benchmarks/ensemble.py [--repeats 5] [--trunk vit_base_patch14_dinov2.lvd142m]

The baseline is what the official code does: the text tower and every block run once per prompt, in fp32.
All variants run in turn in every repeat, so that a busy machine slows them alike; ratios are medians.
Fused and cascaded ensembles are compared with the exact one by their mean maps; what they lose in PRO says `python
benchmarks/fused.py`. Rows of OpenVINO are there where it is installed.
"""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from timm.layers import LayerScale

from steervit.inference.cascade import SHARE

PROMPTS = [
    "the anomaly in the bottle",
    "an anomaly in the bottle",
    "the anomalous region in the bottle",
    "the defect in the bottle",
    "a defect in the bottle",
    "the flaw in the bottle",
    "the damaged area in the bottle",
    "the abnormality in the bottle",
    "a photo of the anomaly in the bottle",
    "the irregularity in the bottle",
]


def random_model(trunk_name: str, resolution: int):
    """A SteerViT with the published architecture and random weights: gates open, so that text matters.

    Layer scales, which begin at 0.00001, are opened too: else no block would change anything.
    """
    from transformers import RobertaConfig, RobertaModel

    from steervit.modeling.text import TextEncoder
    from steervit.modeling.trunk import without_pooling
    from steervit.weights.loading import build

    torch.manual_seed(0)
    large = RobertaConfig(
        vocab_size=50265, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        intermediate_size=4096, max_position_embeddings=514, type_vocab_size=1,
    )  # fmt: skip
    text = TextEncoder(ByteTokenizer(), RobertaModel(large, add_pooling_layer=False))
    vision = {
        "model_name": trunk_name,
        "resolution": resolution,
        "feature_aggregation": "cls",
        "cross_attn_layers": [1, 3, 5, 7, 9, 11],
    }
    model = build({"vision_encoder": vision, "text_encoder": "roberta-large"}, text)
    without_pooling(model.trunk)
    for layer in model.cross_attention.values():
        torch.nn.init.constant_(layer.attn_gate, 0.5)
    for block in model.trunk.blocks:
        for scale in (block.ls1, block.ls2):
            if isinstance(scale, LayerScale):
                torch.nn.init.constant_(scale.gamma, 0.5)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return model.eval().requires_grad_(False)


class ByteTokenizer:
    """About ten tokens for a sentence, as RoBERTa's own vocabulary gives; the ids mean nothing."""

    def __call__(self, texts, padding=True, truncation=True, max_length=512, return_tensors="pt"):
        rows = [[0, *(3 + sum(word.encode()) for word in text.split()), 2] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids != 1).long()}


def one_by_one(model, image):
    """The official way: one call per prompt, text encoded each time."""
    return torch.cat([model.get_heatmaps(image, [prompt]) for prompt in PROMPTS])


def together(model, image, bank):
    """Our way: prompts prepared once, one call per image."""
    maps = model.segment(image, bank).logits.flatten(2).softmax(-1).view(len(bank), 1, *model.grid_size)
    return upsampled(maps, model)


def in_openvino(model, bank, image, precision: str, folder: Path):
    """The same as graphs: patches in float32, the trunk in `precision`."""
    from anomaly.bundle.runtimes import open_graph
    from steervit.inference.onnx_file import write_onnx
    from steervit.inference.traced import PatchGraph, PromptGraph

    side, count = model.image_size[0], len(bank)
    name = "cascade" if bank.first is not None else str(count)
    if not (folder / "look.onnx").exists():
        tiles = torch.zeros(2, side, side, 3, dtype=torch.uint8)
        write_onnx(
            PatchGraph(model, (0.0,) * 3, (1.0,) * 3), tiles, folder / "look.onnx", ["tiles"], ["tokens"]
        )
    if not (folder / f"{name}.onnx").exists():
        tokens = torch.zeros(2, model.grid_size[0] * model.grid_size[1] + 1, model.feature_dim)
        write_onnx(
            PromptGraph(model, bank), tokens, folder / f"{name}.onnx", ["tokens"], ["logits", "patches"]
        )
    look = open_graph(folder / "look.onnx", "openvino", "fp32", torch.get_num_threads())
    steer = open_graph(folder / f"{name}.onnx", "openvino", precision, torch.get_num_threads())
    seen = (image.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).numpy()

    def run():
        logits = torch.from_numpy(steer(look(seen)[0])[0])
        return upsampled(logits.flatten(2).softmax(-1).view(count, 1, *model.grid_size), model)

    return run


def upsampled(maps, model):
    """Maps (P, 1, h, w) at the size of the model's image."""
    return F.interpolate(maps, size=model.image_size, mode="bilinear", align_corners=False)


def matmul_peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Best FLOP/s of a square matrix product on this machine."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    seconds = min(timed(lambda: a @ b)[0] for _ in range(6))
    return 2 * size**3 / seconds


def timed(function):
    """Seconds and result of one call."""
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def flops(model, prompts: int, tokens_per_prompt: int, again: int = 0) -> float:
    """Multiply-adds x 2 that the one-pass ensemble needs for one image.

    In a cascade `again` prompts look at a share of the tokens once more, and keys and values are made twice.
    """
    tokens, width = model.grid_size[0] * model.grid_size[1] + 1, model.feature_dim
    block = 2 * 12 * tokens * width**2 + 4 * tokens**2 * width
    steer = 2 * 2 * tokens * width * 16 * tokens_per_prompt
    first = min(map(int, model.cross_attention))
    depth = len(model.trunk.blocks)
    once = prompts * ((depth - first) * block + len(model.cross_attention) * steer)
    keys = 2 * 2 * tokens * width**2 * (depth - first)
    more = (
        SHARE
        * again
        * ((depth - first) * (block - keys / (depth - first)) + len(model.cross_attention) * steer)
    )
    return first * block + once + (keys + more if again else 0)


@click.command()
@click.option("--repeats", default=5, show_default=True)
@click.option("--trunk", default="vit_base_patch14_dinov2.lvd142m", show_default=True)
@click.option("--resolution", default=336, show_default=True, help="Image side in pixels.")
def main(repeats: int, trunk: str, resolution: int) -> None:
    """Print a Markdown table of seconds per image and speed-ups."""
    model = random_model(trunk, resolution)
    image = torch.randint(0, 256, (1, 3, resolution, resolution)) / 255
    bank = model.prepare(PROMPTS)
    fused, cascade = bank.fused([len(PROMPTS)]), bank.cascaded([len(PROMPTS)])
    low = model.view(dtype=torch.bfloat16)
    ways = {
        "one call per prompt, fp32 (official way)": lambda: one_by_one(model, image),
        "one pass, fp32": lambda: together(model, image, bank),
        "one pass, bf16": lambda: together(low, image, bank.to(torch.bfloat16)),
        "cascade, fp32": lambda: together(model, image, cascade),
        "cascade, bf16": lambda: together(low, image, cascade.to(torch.bfloat16)),
        "fused, fp32": lambda: together(model, image, fused),
        "fused, bf16": lambda: together(low, image, fused.to(torch.bfloat16)),
    }
    with TemporaryDirectory() as folder:
        if find_spec("openvino") is not None:
            for kind, one in (("one pass", bank), ("cascade", cascade), ("fused", fused)):
                for precision in ("fp32", "bf16"):
                    ways[f"{kind}, OpenVINO {precision}"] = in_openvino(
                        model, one, image, precision, Path(folder)
                    )
        show(ways, repeats, model, bank, f"{trunk}, {resolution} px")


def show(ways, repeats: int, model, bank, what: str) -> None:
    """Run every way in turn, and print the table."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    maps = {name: run() for name, run in ways.items()}  # warm-up
    for _ in range(repeats):
        for name, run in ways.items():
            seconds[name].append(timed(run)[0])
    base = next(iter(ways))
    count = bank.layers[min(bank.layers)].score.shape[-1] // bank.layers[min(bank.layers)].heads
    peaks = {"fp32": matmul_peak(torch.float32), "bf16": matmul_peak(torch.bfloat16)}
    print(f"{what}, {len(PROMPTS)} prompts, random weights, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__.split('+')[0]}, median of {repeats}\n")  # fmt: skip
    print("| way | s per image | speed-up | largest difference | rank correlation | share of peak |")
    print("|---|---|---|---|---|---|")
    for name in ways:
        ratio = statistics.median(a / b for a, b in zip(seconds[base], seconds[name], strict=True))
        mid = statistics.median(seconds[name])
        fast = name.split(",")[0] in ("cascade", "fused")
        mine, exact = (one.mean(0, keepdim=True) if fast else one for one in (maps[name], maps[base]))
        difference = (mine - exact).abs().max().item()
        rank = min(spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(mine, exact, strict=True))
        passes = 1 if fast else len(PROMPTS)
        again = len(PROMPTS) if name.startswith("cascade") else 0
        work = flops(model, passes, count * len(PROMPTS) // passes, again)
        share = work / mid / peaks["bf16" if "bf16" in name else "fp32"]
        shown = "" if name == base else f"{share:.0%}"
        print(f"| {name} | {mid:.2f} | {ratio:.2f} | {difference:.1e} | {rank:.5f} | {shown} |")
    print("\nmatrix-product peak: " + ", ".join(f"{k} {v / 1e9:.0f} GFLOP/s" for k, v in peaks.items()))


if __name__ == "__main__":
    main()
