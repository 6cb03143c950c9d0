"""The learning rate of a step: linear warm-up, cosine, constant. Knows numbers only."""

from __future__ import annotations

import math

from steervit.training.recipe import Schedule


def learning_rate(step: int, schedule: Schedule) -> float:
    """The rate of update number `step`, counted from 0.

    Warm-up reaches `peak` with its last step; the cosine starts after it and reaches `floor` at
    `cosine_until`. With `warmup` 0 this is torch's `CosineAnnealingLR` followed by a constant.
    """
    if step < schedule.warmup:
        return schedule.peak * (step + 1) / schedule.warmup
    length = schedule.cosine_until - schedule.warmup
    progress = min(1.0, (step - schedule.warmup) / length) if length > 0 else 1.0
    return schedule.floor + (schedule.peak - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress))
