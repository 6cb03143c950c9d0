"""The graphs of a bundle, from a model in torch: what looks, what text steers, and every piece of evidence asked for.

Evidence is the same functions as in torch, traced. Letters: B images, S pixels a side, N tokens, h x w patches.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomaly.bundle.bundled_model import DESCRIBE, FILTERED, LOOK, STEER, UNLIKE, lines_graph
from anomaly.bundle.contents import BundleError
from anomaly.bundle.quantising import quantise
from anomaly.evidence.dark_lines import grey_scores
from anomaly.evidence.describers import described_tokens
from anomaly.evidence.line_cells import CELLS
from anomaly.evidence.self_similarity import unlikeness_of_white
from anomaly.evidence.whitening import DIRECTIONS
from anomaly.loaded_model import LoadedModel
from anomaly.settings import InspectionSettings
from anomaly.tiles import Tiling, parse_scales
from steervit.inference.onnx_file import ExportError, write_onnx
from steervit.inference.traced import FilteredGraph, NetworkGraph, PatchGraph, PromptGraph
from steervit.modeling.trunk import describe
from steervit.nano.host_filters import FEATURES
from steervit.nano.squash import SIZE

# What each runtime can compute in. ONNX Runtime has no bfloat16 products on a CPU, torch no quantised trunks of ours.
ABLE = {"onnx": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8"), "torch": ("fp32", "bf16")}
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
TRACED = 2  # images that a graph is traced with; the number of images stays free


@dataclass(frozen=True)
class Wanted:
    """What to write: a runtime and a precision (`ABLE`), and whether pictures are to be described for comparing.

    `tiles` uint8 (B, S, S, 3) of good pictures, which int8 is calibrated on.
    """

    runtime: str
    precision: str
    described: bool
    tiles: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.precision not in ABLE[self.runtime]:
            able = ", ".join(f"{name} {' '.join(kinds)}" for name, kinds in ABLE.items())
            raise BundleError(
                f"expected a precision that {self.runtime} computes in on a processor, got {self.precision}; there "
                f"are: {able}"
            )


class UnlikenessGraph(nn.Module):
    """Whitened tokens (B, h*w, 32) -> unlikeness (B, h*w)."""

    def forward(self, white: Tensor) -> Tensor:
        """See the class."""
        return unlikeness_of_white(white)


class LinesGraph(nn.Module):
    """Grey pictures (B, 1, H, W) -> evidence of dark lines per cell, (B, 4h, 4w)."""

    def __init__(self, size_hw: tuple[int, int], cells: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.cells = size_hw, cells

    def forward(self, grey: Tensor) -> Tensor:
        """See the class."""
        return grey_scores(grey, self.size, self.cells)


class TokensGraph(PatchGraph):
    """Tiles -> descriptions of patches by the model's own tokens, (B, h*w, C)."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model.steervit, *model.normalisation)
        self.model = model.steervit

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        return described_tokens(self.model, self.pixels(tiles))


class EyesGraph(nn.Module):
    """Squashed pictures uint8 (B, 256, 256, 3) -> descriptions of patches by nano's eyes, (B, N, C)."""

    def __init__(self) -> None:
        from steervit.nano.eyes import Eyes

        super().__init__()
        self.eyes = Eyes.from_pretrained()

    def forward(self, squashed: Tensor) -> Tensor:
        """See the class."""
        return self.eyes.described(squashed.permute(0, 3, 1, 2).float() / 255)


def write_graphs(
    model: LoadedModel, settings: InspectionSettings, object: str, wanted: Wanted, folder: Path
) -> dict[str, str]:
    """Write every graph that `settings` need to `folder`; what each is for -> its file.

    Raises `BundleError` when one of them cannot be written, or when the runtime cannot run what it computes.
    """
    steervit, parts = model.steervit, looking(model)
    filters = FILTERED in parts
    height, width = model.image_size
    tiles = torch.zeros((TRACED, height, width, 3), dtype=torch.uint8)
    if settings.self_similarity and not filters:
        patches = model.grid_size[0] * model.grid_size[1]
        parts[UNLIKE] = (UnlikenessGraph(), torch.rand(TRACED, patches, DIRECTIONS), ["unlike"])
    if settings.dark_lines:
        parts |= _lines(settings, model, filters)
    if wanted.described:
        parts[DESCRIBE] = _describing(model, tiles)
    named = {name: _write(name, *part, wanted.runtime, folder) for name, part in parts.items()}
    low = (
        steervit.view(dtype=torch.bfloat16)
        if (wanted.runtime, wanted.precision) == ("torch", "bf16")
        else steervit
    )
    steering = PromptGraph(low, model.bank(object).to(low.dtype))
    samples = None
    if wanted.tiles is not None and wanted.precision == "int8":
        samples = [entering(model, one[None]).numpy() for one in wanted.tiles]
    x = entering(model, tiles.numpy())
    named[STEER] = _write(STEER, steering, x, ["logits", "patches"], wanted.runtime, folder, samples)
    return named


def looking(model: LoadedModel) -> dict[str, tuple[nn.Module, Tensor, list[str]]]:
    """The graphs that look at tiles, by what they are for: each with what it is traced with, and its outputs."""
    height, width = model.image_size
    tiles = torch.zeros((TRACED, height, width, 3), dtype=torch.uint8)
    embed: Any = model.steervit.trunk.patch_embed
    if not hasattr(embed, "project_filtered"):
        return {LOOK: (PatchGraph(model.steervit, *model.normalisation), tiles, ["tokens"])}
    features = torch.rand(TRACED, model.grid_size[0] * model.grid_size[1], FEATURES)
    found: dict[str, Any] = {FILTERED: (FilteredGraph(model.steervit), features, ["tokens"])}
    if hasattr(embed, "project_seen"):
        found[LOOK] = (NetworkGraph(model.steervit, *model.normalisation), tiles, ["added"])
    return found


@torch.inference_mode()
def entering(model: LoadedModel, tiles: np.ndarray) -> Tensor:
    """What enters the first block, of tiles uint8 (T, S, S, 3): (T, N, D) float32."""
    return describe(model.steervit.trunk, model.pixels(tiles))[0].float().clone()


def _lines(
    settings: InspectionSettings, model: LoadedModel, filters: bool
) -> Mapping[str, tuple[nn.Module, Tensor, list[str]]]:
    """One graph for each size at which a picture is seen, but for the one that the model's own filters look at."""
    parts: dict[str, tuple[nn.Module, Tensor, list[str]]] = {}
    patch = model.image_size[0] // model.grid_size[0]
    for scale in parse_scales(settings.scales):
        rows, columns = Tiling(*scale, model.grid_size).canvas
        if filters and scale == (1, 1):
            continue
        size, cells = (rows * patch, columns * patch), (CELLS * rows, CELLS * columns)
        parts[lines_graph(size)] = (LinesGraph(size, cells), torch.rand(TRACED, 1, *size), ["cells"])
    return parts


def _describing(model: LoadedModel, tiles: Tensor) -> tuple[nn.Module, Tensor, list[str]]:
    if model.describer.name.startswith("Eff"):
        return EyesGraph(), torch.zeros((TRACED, SIZE, SIZE, 3), dtype=torch.uint8), ["patches"]
    return TokensGraph(model), tiles, ["patches"]


def _write(
    name: str,
    module: nn.Module,
    example: Tensor,
    outputs: list[str],
    runtime: str,
    folder: Path,
    samples: list[np.ndarray] | None = None,
) -> str:
    """Write one graph, in int8 where there are `samples` of what enters it; returns its file."""
    path = folder / f"{name}{SUFFIX[runtime]}"
    try:
        if runtime == "torch":
            _write_torch(module, example, path)
            return path.name
        written = path.with_suffix(".onnx")
        write_onnx(module, example, written, ["given"], outputs)
    except ExportError as error:
        raise BundleError(str(error)) from error
    converted = path if runtime == "openvino" else None
    if converted is not None:
        _convert(written, converted)
    if samples is not None:
        quantise(written, samples, converted)
    if converted is not None:
        written.unlink()
    return path.name


def _write_torch(module: nn.Module, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module.eval()(example)  # see `write_onnx`
        shapes = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)


def _convert(written: Path, path: Path) -> None:
    import openvino

    try:
        openvino.save_model(openvino.convert_model(written), path, compress_to_fp16=False)
    except RuntimeError as error:
        raise BundleError(
            f"OpenVINO {openvino.__version__.split('-')[0]} lacks an operator of this model: "
            f"{str(error).strip().splitlines()[-1][:300]}; export it with --format onnx"
        ) from error
