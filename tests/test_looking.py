"""How a bundle of nano looks: its filters beside its network, and the same evidence as in torch."""

import numpy as np
import torch

from anomaly.bundle.looking import Looking
from anomaly.evidence.dark_lines import cell_scores
from anomaly.evidence.line_cells import line_cells
from steervit.nano import filters
from steervit.nano.host_filters import FEATURES, oddness, standard_scores

TILES = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)


class Graph:
    def __init__(self, width):
        self.width = width

    def __call__(self, given):
        if given.shape[-1] == FEATURES:  # a class token before those of patches
            return [np.pad(given[..., : self.width], ((0, 0), (1, 0), (0, 0)))]
        return [np.full((len(given), 64, self.width), 2.0, np.float32)]

    def precisions(self):
        return {}


def test_what_the_network_says_is_added_to_patches_alone():
    alone, *own = Looking(12, Graph(5), None)(TILES)
    both, *same = Looking(12, Graph(5), Graph(5))(TILES)
    assert both.shape == (2, 65, 5)
    assert np.array_equal(both[:, 1:], alone[:, 1:] + 2) and not both[:, 0].any()
    assert all(np.array_equal(one, other) for one, other in zip(own, same, strict=True))


def test_evidence_is_that_of_torch():
    pixels = torch.from_numpy(TILES).permute(0, 3, 1, 2).float() / 255
    features, lines = filters.describe_patches(pixels, 12)
    _, unlike, cells = Looking(12, Graph(5), None)(TILES)
    assert np.allclose(unlike, filters.standard_scores(filters.oddness(features)), atol=1e-4)
    assert np.allclose(cells, cell_scores(lines[:, :3], (32, 32)), atol=1e-4)


def test_cells_by_hand():
    dark = np.zeros((3, 24, 24), np.float32)
    dark[0, 12:15, 12:15] = 1.6  # one of 64 cells; its patch has a mean of 0.1, the four of 0.025
    cells = line_cells(dark, 12)
    deviation = np.sqrt(3 * 0.025**2 + 0.075**2) / np.sqrt(3)
    assert cells.shape == (8, 8)
    assert np.isclose(cells[4, 4], min(20, (1.6 - 0.025) / (deviation + 1e-4)) - 4)
    assert np.isclose(cells[0, 0], -0.025 / (deviation + 1e-4) - 4, atol=1e-5)


def test_scores_and_oddness_are_those_of_torch():
    features = np.random.default_rng(1).normal(size=(2, 30, FEATURES)).astype(np.float32)
    expected = filters.standard_scores(filters.oddness(torch.from_numpy(features)))
    assert np.allclose(standard_scores(oddness(features)), expected, atol=1e-5)
