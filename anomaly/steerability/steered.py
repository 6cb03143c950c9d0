"""A model as the benchmarks use it: pictures and a sentence in, features out, each computed once.

Knows nothing of benchmarks. Letters: n pictures, D channels, h x w patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from anomaly.steerability.feature_cache import FeatureCache
from anomaly.steerability.picture import Picture
from steervit import SteerViT

Compute = Callable[[Tensor, Sequence[str] | None], Tensor]
Transform = Callable[[Image], Tensor]

PIECE = 256  # pictures whose features are kept at a time: what an interruption may cost


class Steered:
    """A model at one omega. `settings` say which weights; they are part of where features are kept in `folder`.

    The model given stays as it is. Pictures are prepared by its own evaluation transform, as the official code does;
    for attention maps, which are compared with pixels, without its centre crop.
    """

    def __init__(
        self,
        model: SteerViT,
        folder: Path,
        settings: Mapping[str, Any],
        omega: float = 1.0,
        batch_size: int = 8,
    ) -> None:
        self.model = model.view()
        self.model.eval()
        self.model.set_gate_factor(omega)
        self.batch_size = batch_size
        self.settings = {**settings, "omega": float(omega), "image_size": list(model.image_size)}
        self._folder = folder

    def features(self, pictures: Sequence[Picture], prompt: str | None) -> np.ndarray:
        """Global features float32 (n, D), L2-normalised; `prompt` None: of the trunk alone.

        Raises `SteerAnomalyError` for features that are not finite or zero, which point nowhere.
        """
        encode = self.model.get_global_features
        found = self._cached("global", pictures, prompt, encode, self.model.get_transforms())
        length = np.linalg.norm(found, axis=1, keepdims=True)
        if not length.all():
            raise SteerAnomalyError(f"expected features other than 0, got 0 with the prompt {prompt!r}")
        return found / length

    def attention(self, pictures: Sequence[Picture], prompt: str | None) -> np.ndarray:
        """CLS-to-patch attention of the last block, float32 (n, h, w) in 0..1. Needs a trunk with a CLS token."""
        if not self.model.trunk.num_prefix_tokens:
            raise SteerAnomalyError(f"expected a model with a CLS token, {self.model.name} has none")

        def maps(images: Tensor, texts: Sequence[str] | None) -> Tensor:
            return self.model.get_attention_heatmaps(images, texts, interpolate=False)

        return self._cached("attention", pictures, prompt, maps, _uncropped(self.model))

    def _cached(
        self,
        what: str,
        pictures: Sequence[Picture],
        prompt: str | None,
        compute: Compute,
        transform: Transform,
    ) -> np.ndarray:
        cache = FeatureCache(self._folder, {**self.settings, "what": what})
        known = cache.read(prompt)
        missing = list({one.key: one for one in pictures if one.key not in known}.values())
        for start in range(0, len(missing), PIECE):
            piece = missing[start : start + PIECE]
            found = self._compute(piece, prompt, compute, transform)
            fresh = dict(zip((one.key for one in piece), found, strict=True))
            cache.add(prompt, fresh)
            known |= fresh
        return np.stack([known[one.key] for one in pictures])

    def _compute(
        self, pictures: Sequence[Picture], prompt: str | None, compute: Compute, transform: Transform
    ) -> np.ndarray:
        found = []
        for start in range(0, len(pictures), self.batch_size):
            batch = pictures[start : start + self.batch_size]
            images = torch.stack([transform(one.read()) for one in batch])
            texts = None if prompt is None else [prompt] * len(batch)
            found.append(compute(images, texts).float().cpu().numpy())
        every = np.concatenate(found)
        if not np.isfinite(every).all():
            raise SteerAnomalyError(f"expected finite features, got others with the prompt {prompt!r}")
        return every


def _uncropped(model: SteerViT) -> Transform:
    from timm.data import create_transform, resolve_data_config

    data = resolve_data_config({}, model=model.trunk)
    return create_transform(**{**data, "input_size": (3, *model.image_size), "crop_pct": 1.0})
