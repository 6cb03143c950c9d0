"""The inspection itself: an image and the name of a part go in, an `Inspection` comes out.

Everything else of the tool reads inputs for it or writes what it found.
Letters: P prompts, S the model's image side in pixels, H x W the image's own size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import resolve_data_config

from anomaly import heatmaps
from anomaly import prompts as prompt_sets
from anomaly.decision.threshold import OperatingPoint, defaults
from anomaly.errors import SteerAnomalyError
from anomaly.evidence.dark_lines import CELLS, dark_lines
from anomaly.inspection import Inspection
from anomaly.model_files import load_model
from anomaly.prompts import PromptSet
from anomaly.regions import find_regions
from anomaly.tiles import Tiling, parse_scales
from steervit import SteerViT
from steervit.inference.ensemble import PromptBank

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Inspector:
    """Finds defects with one model and one set of prompts.

    `model` is `nano`, a published model's name, a checkpoint file or folder, or a loaded `SteerViT`.
    `prompts` is a set's name, a file, or a `PromptSet`. `omega` scales the text's influence (1 as trained).
    `activation`, `smooth` (Gaussian sigma in pixels of the model's image) and `scales` (such as "1,2": whole
    image and 2 x 2 tiles, averaged) default to what the model ships with, as do `threshold`, `self_similarity`,
    the weight of how unlike the rest of its image each patch is, and `dark_lines`, that of lines darker than their
    surroundings (cracks, cuts, gaps), both in logits per z-score;
    `mask_threshold` defaults to the threshold given. Raises `SteerAnomalyError` for bad settings.
    """

    def __init__(
        self,
        model: str | Path | SteerViT = "nano",
        *,
        prompts: str | Path | PromptSet = "default",
        omega: float = 1.0,
        activation: str | None = None,
        smooth: float | None = None,
        scales: str | None = None,
        self_similarity: float | None = None,
        dark_lines: float | None = None,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        device: str | None = None,
        precision: str = "fp32",
        trunk: str | Path | None = None,
        text_encoder: str | Path | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise SteerAnomalyError(f"expected --precision to be fp32 or bf16, got {precision!r}")
        self.prompts = prompts if isinstance(prompts, PromptSet) else prompt_sets.load(prompts)
        self.device, self.precision = _device(device), precision
        self.model, self.record = load_model(model, trunk, text_encoder)
        self.model.to(self.device)
        self.model.set_precision(PRECISIONS[precision])
        self.model.set_gate_factor(omega)
        shipped, point = defaults(self.record.name, self.record.weights_sha256)
        given: dict[str, Any] = {
            "activation": activation or None, "smooth": smooth, "scales": scales or None,
            "self_similarity": self_similarity, "dark_lines": dark_lines,
        }  # fmt: skip
        self.maps = replace(shipped, **{name: value for name, value in given.items() if value is not None})
        self.tilings = [Tiling(r, c, self.model.grid_size) for r, c in parse_scales(self.maps.scales)]
        heatmaps.activate(np.zeros((1, 1)), self.maps.activation)  # a wrong name is said now
        self.point = _operating_point(threshold, mask_threshold, point if self.maps == shipped else None)
        data = resolve_data_config({}, model=self.model.trunk)
        self._mean, self._std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self._banks: dict[str, PromptBank] = {}

    # Public --------------------------------------------------------------------------------------------

    def inspect(self, image: np.ndarray, object: str = "object") -> Inspection:
        """Inspect one RGB uint8 H x W x 3 image of the part called `object`."""
        return self.inspect_batch([image], object)[0]

    def inspect_batch(self, images: Sequence[np.ndarray], object: str = "object") -> list[Inspection]:
        """Inspect several images of one part, of any sizes; one `Inspection` each, in order."""
        began = time.perf_counter()
        name = prompt_sets.object_name(object)
        maps = [self._heatmap(image, name) for image in _checked(images)]
        found = [self._judge(*both, name) for both in maps]
        each = (time.perf_counter() - began) * 1000 / max(1, len(found))
        return [replace(one, milliseconds=each) for one in found]

    def prepare(self, object: str, last: bool = False) -> None:
        """Encode the prompts for `object` now; with `last` free the text tower (1.4 GB for RoBERTa-large)."""
        self._bank(prompt_sets.object_name(object))
        if last:
            self.model.drop_text_encoder()

    def settings(self) -> dict[str, Any]:
        """Everything that decides a result, ready for JSON: model, hashes, prompts and every option."""
        point = self.point
        return {
            "model": self.record.name,
            "model_about": self.record.about,
            "licence": self.record.licence,
            "hashes": self.record.hashes,
            "prompt_set": self.prompts.name,
            "prompts": list(self.prompts.prompts),
            "contrast": list(self.prompts.contrast),
            "omega": self.model.omega,
            **asdict(self.maps),
            "threshold": point.threshold if point else None,
            "mask_threshold": point.mask_threshold if point else None,
            "false_alarm_rate": point.false_alarm_rate if point else None,
            "threshold_source": point.source if point else "none: images are scored but not judged",
            "image_size": list(self.model.image_size),
            "precision": self.precision,
            "device": str(self.device),
        }

    # Steps -----------------------------------------------------------------------------------------------

    def _heatmap(self, image: np.ndarray, object: str) -> tuple[np.ndarray, float]:
        """The heatmap at the image's own size, and the image's score."""
        bank, contrast = self._bank(object), len(self.prompts.contrast)
        maps = []
        for tiling in self.tilings:
            logits = tiling.blend(self._segment(tiling.cut(image, self.model.image_size), bank))
            if self.maps.dark_lines:
                logits = self._with_lines(logits, image, tiling)
            one = heatmaps.average(heatmaps.activate(logits, self.maps.activation), contrast)
            maps.append(heatmaps.resize(one, self._working_size(tiling)))
        size = max(map(np.shape, maps))
        mean = np.stack([heatmaps.resize(one, size) for one in maps]).mean(0)
        mean = heatmaps.smooth(mean, self.maps.smooth)
        return heatmaps.resize(mean, image.shape[:2]), heatmaps.image_score(mean)

    def _segment(self, tiles: np.ndarray, bank: PromptBank) -> np.ndarray:
        """Tiles uint8 (T, S, S, 3) -> logits float32 (T, P, h, w)."""
        pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - self._mean) / self._std
        contrast = len(self.prompts.contrast)  # what is odd is no part of what they ask for
        weights = [self.maps.self_similarity] * (len(bank) - contrast) + [0.0] * contrast
        return self.model.segment(pixels, bank, self_similarity=weights).cpu().numpy()

    def _with_lines(self, logits: np.ndarray, image: np.ndarray, tiling: Tiling) -> np.ndarray:
        """Logits (P, h, w) of all prompts -> (P, 4h, 4w), with dark lines added where a prompt asks for defects."""
        fine = (CELLS * tiling.canvas[0], CELLS * tiling.canvas[1])
        logits = np.stack([heatmaps.resize(one, fine) for one in logits])
        lines = dark_lines(image, self._working_size(tiling), fine)
        logits[: len(logits) - len(self.prompts.contrast)] += self.maps.dark_lines * lines
        return logits

    def _working_size(self, tiling: Tiling) -> tuple[int, int]:
        (h, w), patch = tiling.canvas, self.model.patch_size
        return h * patch, w * patch

    def _judge(self, heatmap: np.ndarray, score: float, object: str) -> Inspection:
        point, mask = self.point, np.zeros(heatmap.shape, bool)
        anomalous = None if point is None else score >= point.threshold
        if point is not None and anomalous:
            # Small images may miss the score's level by interpolation: their hottest pixel is still shown.
            mask = heatmap >= min(point.mask_threshold, float(heatmap.max()))
        return Inspection(
            score=score,
            is_anomalous=anomalous,
            heatmap=heatmap,
            mask=mask,
            regions=find_regions(mask, heatmap),
            threshold=point.threshold if point else None,
            object=object,
            model=self.record.name,
        )

    def _bank(self, object: str) -> PromptBank:
        if object not in self._banks:
            texts = self.prompts.fill(object) + self.prompts.fill_contrast(object)
            self._banks[object] = self.model.prepare(texts)
        return self._banks[object]


def _operating_point(
    threshold: float | None, mask_threshold: float | None, shipped: OperatingPoint | None
) -> OperatingPoint | None:
    if threshold is not None:
        return OperatingPoint(
            threshold, threshold if mask_threshold is None else mask_threshold, None, "set by the user"
        )
    if mask_threshold is not None and shipped is not None:
        return replace(shipped, mask_threshold=mask_threshold)
    return shipped


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SteerAnomalyError(f"expected --device to be usable here, {name!r} is not: {reason}") from error


def _checked(images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise SteerAnomalyError(
                f"expected RGB images, uint8 H x W x 3, got {image.dtype} {'x'.join(map(str, image.shape))}; "
                "`anomaly.pictures.images.read_image` reads any file as one"
            )
    return images
