"""Training samples for tests, drawn in memory: coloured squares on grey, asked for by colour."""

from __future__ import annotations

from pathlib import Path

import torch

from steervit.training.data.batches import Sample
from steervit.training.losses import patch_fractions
from steervit.training.recipe import Recipe, load

COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.1), "blue": (0.1, 0.2, 0.9)}
TINY = Path(__file__).parent / "golden" / "steervit" / "tiny-roberta"
TRAIN = Path(__file__).parent.parent / "train"


class Squares:
    """A `Supply` of 32 px images, each with two squares of different colours and the name of one."""

    def __init__(self, seed: int = 0, side: int = 32, patch: int = 8, validation: int = 12) -> None:
        self.seed, self.side, self.patch = seed, side, patch
        self.kinds = 0
        self.validation_sources = ["even" if i % 2 == 0 else "odd" for i in range(validation)]

    def training(self, step: int, slot: int) -> Sample:
        return self._draw(1 + step * 1000 + slot, "squares")

    def validation(self, index: int) -> Sample:
        return self._draw(10**8 + index, self.validation_sources[index])

    def expressions(self, count=1000):
        return [f"the {colour} square" for colour in COLOURS]

    def _draw(self, number: int, source: str) -> Sample:
        random = torch.Generator().manual_seed(self.seed * 10**9 + number)
        order = torch.randperm(3, generator=random).tolist()
        places = torch.randperm((self.side // 8) ** 2, generator=random).tolist()
        image = torch.full((3, self.side, self.side), 0.5) + 0.05 * torch.randn(
            3, self.side, self.side, generator=random
        )
        mask = torch.zeros(self.side, self.side)
        for one in (0, 1):
            y, x = (8 * place for place in divmod(places[one], self.side // 8))
            image[:, y : y + 8, x : x + 8] = torch.tensor(list(COLOURS.values())[order[one]])[:, None, None]
            if one == 0:
                mask[y : y + 8, x : x + 8] = 1
        return Sample(
            image.clamp(0, 1),
            patch_fractions(mask[None], self.patch)[0],
            patch_fractions(mask[None], self.patch)[0],
            f"the {list(COLOURS)[order[0]]} square",
            source,
        )


SMALL = [
    "model.trunk=steervit_nano",
    "model.trunk_sizes={patch_size: 8, width: 16, depth: 4, heads: 2}",
    "model.trunk_weights=random",
    "model.resolution=32",
    "model.feature_aggregation=cls",
    "model.cross_attn_layers=[1, 3]",
    "model.cross_attn_heads=2",
    "model.cross_attn_head_dim=8",
    f"model.text_weights={TINY}",
    "data.workers=0",
    "train.batch=4",
    "train.steps=5",
    "train.schedule={peak: 0.003, floor: 0.0003, warmup: 2, cosine_until: 20}",
    "train.log_every=1",
    "train.validate_every=1000",
    "train.save_every=1000",
    "train.pictures=0",
]


def small_recipe(name: str = "steervit-dinov2-base", *settings: str) -> Recipe:
    """The shipped recipe `name` with everything made tiny, and `settings` on top."""
    return load(name, TRAIN, [*SMALL, *settings])
