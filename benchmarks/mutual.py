"""What mutual scoring costs, and what its faster default loses against MuSc as published.

    python benchmarks/mutual.py [--threads 1] [--images 100] [--plain 4] [--each-degree] [--precision single]

Tokens are drawn: a part's layout, each image's own smooth deviation, noise, and defects planted in half of the
images; and pure noise, where no patch is like any other and ranks are chance. MuSc is written plainly: for each
image, other image, layer and degree one `torch.cdist`. That takes minutes, so it is timed on `--plain` of the images,
each against all others, and its cost an image is that mean; the descriptions of all images count an image's share.
Ranks are compared on the patches of those same images, with all images as company.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import click
import torch
import torch.nn.functional as F
from torch import Tensor

Precision = Literal["half", "single"]

LAYERS, CHANNELS, SIDE = 3, 768, 24  # of a published trunk at 336 pixels
NANO_CHANNELS, NANO_SIDE = 176, 40
LATENT = 40  # numbers that a patch of the drawn part has
DEGREES = (1, 3, 5)
LOWEST = 0.3


@click.command()
@click.option("--threads", default=1, show_default=True, help="Cores that torch may use.")
@click.option("--images", default=100, show_default=True)
@click.option("--plain", default=4, show_default=True, help="Images scored plainly, each against all others.")
@click.option(
    "--each-degree", is_flag=True, help="Also ours with the three degrees apart: three times the cost."
)
@click.option("--precision", type=click.Choice(["half", "single"]), default="half", show_default=True)
def main(threads: int, images: int, plain: int, each_degree: bool, precision: Precision) -> None:
    """Print a table of seconds an image and rank correlations."""
    torch.set_num_threads(threads)
    rows = [plain * place // plain * images // plain for place in range(plain)]
    print(
        f"{images} images, {threads} thread(s), torch {torch.__version__}; plain: {plain} images, each against all\n"
    )
    print(
        "| tokens | how | wall s an image | CPU s an image | times faster (wall) | rank correlation | AUROC |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, draw in (("structured", structured), ("noise", noise)):
        tokens, planted = draw(images, SIDE, CHANNELS, LAYERS)
        compare(name, tokens, planted, rows if draw is structured else rows[:2], each_degree, precision)
        del tokens
    tokens, planted = structured(images, NANO_SIDE, NANO_CHANNELS, 1)
    described = [torch.stack([one.to(torch.float16) for one in tokens[0]])]
    scores, wall, cpu = ours(described, precision, standardise=True)
    line("nano's", "ours, standardised", wall, cpu, "-", "-", auroc(scores, planted))


def compare(
    name: str,
    tokens: list[Tensor],
    planted: Tensor | None,
    rows: list[int],
    each_degree: bool,
    precision: Precision,
) -> None:
    """Print the rows of one kind of tokens, N x L x C a layer."""
    from anomaly.evidence.mutual_musc import describe_neighbourhood, lnamd

    exact, wall, cpu = plainly(tokens, rows)
    truth = None if planted is None else planted[rows]
    line(name, "MuSc, plainly", wall, cpu, "1", "1", auroc(exact, truth))
    ways = {"ours, degrees merged (default)": lambda layer: [describe_neighbourhood(layer)]}
    if each_degree:
        ways["ours, degrees apart"] = lambda layer: [lnamd(layer, degree) for degree in DEGREES]
    for label, describe in ways.items():
        described, start, start_cpu = [], time.perf_counter(), time.process_time()
        for layer in tokens:
            described += [one.half() for one in describe(layer)]
        spent = (time.perf_counter() - start) / len(layer), (time.process_time() - start_cpu) / len(layer)
        scores, own, own_cpu = ours(described, precision)
        ratio = wall / (own + spent[0])
        correlation = f"{spearman(exact, scores[rows]):.4f}"
        line(
            name,
            label,
            own + spent[0],
            own_cpu + spent[1],
            f"{ratio:.1f}",
            correlation,
            auroc(scores[rows], truth),
        )


def plainly(tokens: list[Tensor], rows: list[int]) -> tuple[Tensor, float, float]:
    """The published scores of the images `rows` (len(rows), L), and wall and CPU seconds an image."""
    from anomaly.evidence.mutual_musc import lnamd

    images, lowest = len(tokens[0]), int(LOWEST * (len(tokens[0]) - 1))
    total, share = torch.zeros(len(rows), tokens[0].shape[1]), torch.zeros(2)
    for degree in DEGREES:
        for layer in tokens:
            with clock(share, images):
                described = lnamd(layer, degree)
            with clock(share, len(rows)):
                for place, i in enumerate(rows):
                    each = [torch.cdist(described[i], described[j]).amin(1) for j in range(images) if j != i]
                    total[place] += torch.stack(each).topk(lowest, 0, largest=False).values.mean(0)
    return total / (len(DEGREES) * len(tokens)), *share.tolist()


def ours(
    described: list[Tensor], precision: Precision, standardise: bool = False
) -> tuple[Tensor, float, float]:
    """Scores (N, L) by way of files, as the tool does it, and wall and CPU seconds an image."""
    from anomaly.evidence.mutual import FeatureStore, MutualSettings, mutual_scores

    share, count = torch.zeros(2), len(described[0])
    keys = [sha256(str(number).encode()).hexdigest() for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), keys[0])
        with clock(share, count):
            for number, key in enumerate(keys):
                store.add(key, [layer[number] for layer in described])
            found = mutual_scores(store, keys, MutualSettings(standardise=standardise, precision=precision))
    return torch.stack([torch.from_numpy(found[key].scores) for key in keys]), *share.tolist()


@contextmanager
def clock(share: Tensor, images: int) -> Iterator[None]:
    """Add wall and CPU seconds an image to `share`."""
    start = time.perf_counter(), time.process_time()
    yield
    share += torch.tensor([time.perf_counter() - start[0], time.process_time() - start[1]]) / images


def structured(images: int, side: int, channels: int, layers: int) -> tuple[list[Tensor], Tensor]:
    """Tokens N x L x C for each layer, and where defects were planted in half of the images (N, L)."""
    gen = torch.Generator().manual_seed(1)
    part = _smooth(1, side, 9, gen) + 0.5 * _smooth(images, side, 5, gen)
    part += 0.25 * torch.randn(part.shape, generator=gen)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    planted = torch.zeros(images, side, side, dtype=torch.bool)
    for image in range(0, images, 2):
        row, column = torch.randint(2, side - 2, (2,), generator=gen).tolist()
        radius = side / 24 * (1 + 2.5 * float(torch.rand(1, generator=gen)))
        planted[image] = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    part += planted[:, None] * 0.9 * torch.randn(images, LATENT, 1, 1, generator=gen)
    tokens = []
    for _ in range(layers):
        seen = part.flatten(2).transpose(1, 2) @ torch.randn(LATENT, channels, generator=gen) / LATENT**0.5
        offset = 0.5 * torch.randn(channels, generator=gen)
        tokens.append(seen + offset + 0.3 * torch.randn(seen.shape, generator=gen))
    return tokens, planted.flatten(1)


def noise(images: int, side: int, channels: int, layers: int) -> tuple[list[Tensor], None]:
    """Tokens that have nothing in common."""
    gen = torch.Generator().manual_seed(2)
    return [torch.randn(images, side * side, channels, generator=gen) for _ in range(layers)], None


def _smooth(images: int, side: int, width: int, gen: torch.Generator) -> Tensor:
    white = torch.randn(images, LATENT, side + 2 * width - 2, side + 2 * width - 2, generator=gen)
    soft = F.avg_pool2d(F.avg_pool2d(white, width, 1), width, 1)
    return soft / soft.std()


def spearman(one: Tensor, other: Tensor) -> float:
    """Rank correlation over all patches."""
    from scipy.stats import spearmanr

    return float(spearmanr(one.flatten().numpy(), other.flatten().numpy()).statistic)


def auroc(scores: Tensor, planted: Tensor | None) -> str:
    """Of planted patches, in percent; - where none were planted."""
    from sklearn.metrics import roc_auc_score

    if planted is None:
        return "-"
    return f"{100 * roc_auc_score(planted.flatten().numpy(), scores.flatten().numpy()):.1f}"


def line(*cells: str | float) -> None:
    """Print a row of the table."""
    print(
        "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in cells) + " |",
        flush=True,
    )


if __name__ == "__main__":
    main()
