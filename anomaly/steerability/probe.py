"""The paper's linear probe (section 4, FG-CLS): does steering keep what features are good for?

A linear classifier on frozen global features: 300 epochs, learning rate 1e-3, batches of 128. Optimiser, schedule and
data augmentation are not published: ours is Adam at a constant rate, without augmentation. The last epoch counts.
Knows nothing of how features are made. Letters: n pictures, D channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import probe_sets
from anomaly.steerability.picture import Picture, of_file
from anomaly.steerability.probe_sets import LabelledSet, gaps, load


class Features(Protocol):
    """What the probe asks of `Steered`."""

    def features(self, pictures: Sequence[Picture], prompt: str | None, normalised: bool) -> np.ndarray:
        """Features (n, D)."""


@dataclass(frozen=True)
class ProbeSettings:
    """How the classifier is trained. `optimiser` is adam, or sgd with momentum 0.9; `seed` sets weights and order."""

    epochs: int = 300
    rate: float = 1e-3
    batch: int = 128
    optimiser: str = "adam"
    seed: int = 0


def evaluate(
    sets: Sequence[LabelledSet],
    steered: Features,
    with_text: bool = True,
    settings: ProbeSettings | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Test accuracy on each set, 0..1, and their mean `accuracy`; of Waterbirds also that of its worst group.

    All pictures of a set are encoded with its prompt ("the dog", "the bird", "the car"), or without text.
    """
    settings = settings or ProbeSettings()
    per_set: dict[str, Any] = {}
    for one in sets:
        prompt = one.prompt if with_text else None
        train, test = (
            steered.features([of_file(path) for path, _ in part], prompt, normalised=False)
            for part in (one.train, one.test)
        )
        labels = np.array([label for _, label in one.train])
        right = predicted(test, *fit(train, labels, one.classes, settings)) == [
            label for _, label in one.test
        ]
        per_set[one.name] = {**_figures(right, one.groups), "train": len(one.train), "test": len(one.test)}
        per_set[one.name]["prompt"] = prompt
        progress(f"{one.name}: accuracy {per_set[one.name]['accuracy']:.4f} ({len(one.test)} test pictures)")
    accuracies = {name: found["accuracy"] for name, found in per_set.items()}
    total = {"accuracy": float(np.mean(list(accuracies.values()))), **accuracies}
    if worst := per_set.get(probe_sets.WATERBIRDS, {}).get("worst_group"):
        total["waterbirds_worst_group"] = worst["accuracy"]
    return {"global": total, "per_set": per_set}


def fit(
    features: np.ndarray, labels: np.ndarray, classes: int, settings: ProbeSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, D) and biases (K,) from features (n, D) and labels (n,): cross-entropy, the last epoch's.

    Raises `SteerAnomalyError` for an unknown optimiser, and when the weights are not finite any more.
    """
    import torch
    from torch.nn.functional import cross_entropy

    generator = torch.Generator().manual_seed(settings.seed)
    x = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    y = torch.from_numpy(np.asarray(labels, np.int64))
    bound = x.shape[1] ** -0.5  # as torch starts a linear layer
    weight = (torch.rand(classes, x.shape[1], generator=generator) * 2 - 1) * bound
    bias = torch.zeros(classes)
    optimiser = _optimiser([weight.requires_grad_(), bias.requires_grad_()], settings)
    for _ in range(settings.epochs):
        order = torch.randperm(len(x), generator=generator)
        for some in order.split(settings.batch):
            optimiser.zero_grad()
            cross_entropy(x[some] @ weight.T + bias, y[some]).backward()
            optimiser.step()
    found = weight.detach().numpy(), bias.detach().numpy()
    if not all(np.isfinite(one).all() for one in found):
        raise SteerAnomalyError(f"the probe did not converge: lower the learning rate, {settings.rate:g} now")
    return found


def predicted(features: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The class (n,) that the probe gives to features (n, D)."""
    return (features @ weight.T + bias).argmax(1)


def problems(root: Path) -> list[str]:
    """What is wrong with the data sets in `root`, a sentence each: layout, counts, pictures that are missing."""
    try:
        sets = load(root)
    except SteerAnomalyError as error:
        return [str(error)]
    paths = [path for one in sets for part in (one.train, one.test) for path, _ in part]
    return gaps(sets) + [f"{path}: not found" for path in paths if not path.is_file()]


def _optimiser(parameters: list[Any], settings: ProbeSettings) -> Any:
    import torch

    if settings.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=settings.rate)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=settings.rate, momentum=0.9)
    raise SteerAnomalyError(f"expected the optimiser adam or sgd, got {settings.optimiser!r}")


def _figures(right: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"accuracy": float(np.mean(right))}
    if groups:
        named = np.array(groups)
        per_group = {name: float(np.mean(right[named == name])) for name in sorted(set(groups))}
        worst = min(per_group, key=lambda name: per_group[name])
        found |= {"per_group": per_group, "worst_group": {"name": worst, "accuracy": per_group[worst]}}
    return found
