"""How a bundle of nano looks at tiles: its filters here, its network by a graph beside them. Imports no torch.

Letters: T tiles, S the image side in pixels, N patches, D width.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from anomaly.bundle.runtimes import Graph
from anomaly.evidence.line_cells import line_cells
from steervit.nano.host_filters import host_patches, oddness, standard_scores
from steervit.nano.host_ridges import LINES


@dataclass(frozen=True)
class Looking:
    """`filtered`: the graph from features of the filters to tokens; `network`: what a network adds, if there is one."""

    patch: int
    filtered: Graph
    network: Graph | None

    def __call__(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tiles uint8 (T, S, S, 3) -> tokens that enter the first block (T, 1 + N, D), unlikeness (T, N), and
        evidence of dark lines by cell (T, 4h, 4w)."""
        if self.network is None:
            return self._filtered(tiles)
        with ThreadPoolExecutor(1) as beside:
            added = beside.submit(self.network, tiles)
            x, unlike, cells = self._filtered(tiles)
            (more,) = added.result()
        x[:, -more.shape[1] :] += more
        return x, unlike, cells

    def _filtered(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = [host_patches(one.astype(np.float32) / 255, self.patch) for one in tiles]
        features = np.stack([one for one, _ in found])
        cells = np.stack([line_cells(lines[: len(LINES)], self.patch) for _, lines in found])
        (x,) = self.filtered(features)
        return x, standard_scores(oddness(features)), cells
