import numpy as np
import pytest
import torch

from anomaly.steerability import patch_memory
from anomaly.steerability.memory_crops import AREA, RATIO, Crop, jittered
from anomaly.steerability.patch_memory import PatchMemory


def test_soft_labels_by_hand():
    mask = np.array([[0, 0, 1, 1], [0, 2, 1, 255]])
    found = patch_memory.soft_labels(mask, (1, 2), 3)
    assert found.tolist() == [[0.75, 0, 0.25], [0.25, 0.75, 0]]  # 255 counts as 0


def test_neighbours_by_hand():
    """Two memory patches at cosines 1 and 0.98 of the query, one opposite: k = 2 and beta = 0.02 weigh e to 1."""
    angle = np.arccos(0.98)
    patches = np.array([[3, 0], [np.cos(angle), np.sin(angle)], [-1, 0]], np.float32)
    memory = PatchMemory(patches, np.eye(3, dtype=np.float32), neighbours=2)
    share = np.e / (np.e + 1)
    assert memory.labels(np.array([[5, 0]], np.float32))[0] == pytest.approx([share, 1 - share, 0], abs=1e-4)


def test_neighbours_against_a_slow_computation(monkeypatch):
    monkeypatch.setattr(patch_memory, "PRODUCTS", 100)  # in several pieces
    rng = np.random.default_rng(0)
    patches, labels = rng.normal(size=(60, 8)), rng.dirichlet(np.ones(4), 60)
    queries = rng.normal(size=(7, 8))
    found = PatchMemory(patches, labels, neighbours=5, beta=0.1).labels(queries)
    for query, one in zip(queries, found, strict=True):
        cosines = [p @ query / np.linalg.norm(p) / np.linalg.norm(query) for p in patches]
        best = sorted(range(60), key=lambda i: -cosines[i])[:5]
        weights = np.exp([cosines[i] / 0.1 for i in best])
        assert one == pytest.approx(weights @ labels[best] / weights.sum())


def test_a_small_memory_is_asked_whole():
    memory = PatchMemory(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    assert len(memory) == 2 and memory.labels(np.eye(2, dtype=np.float32)).argmax(1).tolist() == [0, 1]


def test_rare_classes_are_drawn_first():
    """Of 100 patches of class 0 and 2 of class 1, ranks are at most 2 for the rare and usually above for the others."""
    labels = np.zeros((102, 2), np.float32)
    labels[:100, 0], labels[100:, 1] = 1, 1
    drawn = [patch_memory.sampled(labels, 4, str(seed)) for seed in range(50)]
    assert np.mean([np.isin([100, 101], one).mean() for one in drawn]) > 0.9
    assert np.array_equal(drawn[0], patch_memory.sampled(labels, 4, "0"))
    assert patch_memory.sampled(labels, 500, "0").tolist() == list(range(102))


def test_iou_by_hand_and_against_scikit_learn():
    from sklearn.metrics import jaccard_score

    true, found = np.array([0, 0, 1, 1, 255]), np.array([0, 1, 1, 1, 0])
    counts = patch_memory.confusion(true, found, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert patch_memory.ious(counts) == pytest.approx([1 / 2, 2 / 3, 0])
    rng = np.random.default_rng(0)
    true, found = rng.integers(0, 5, 500), rng.integers(0, 5, 500)
    counts = patch_memory.confusion(true, found, 5)
    assert patch_memory.ious(counts) == pytest.approx(jaccard_score(true, found, average=None))


def test_matching_renames_what_was_found():
    """Classes found under each other's name are all wrong as they are, and all right after matching."""
    counts = np.array([[0, 5, 1], [4, 0, 0], [0, 0, 7]])
    assert patch_memory.matched(counts).tolist() == [[5, 0, 1], [0, 4, 0], [0, 0, 7]]


def test_maps_are_enlarged_before_the_likeliest_class_is_taken():
    found = patch_memory.predicted(np.array([[1, 0], [0, 1]], np.float32), (1, 2), (2, 8))
    assert found.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2


def test_crops_are_in_the_picture_and_follow_from_the_seed():
    crops = [Crop.drawn((120, 80), str(seed)).box for seed in range(200)]
    assert len(set(crops)) > 100 and Crop.drawn((120, 80), "7").box == crops[7]
    for left, top, right, bottom in crops:
        assert 0 <= left < right <= 120 and 0 <= top < bottom <= 80
        area, ratio = (right - left) * (bottom - top), (right - left) / (bottom - top)
        assert AREA[0] * 0.97 <= area / 9600 <= 1 and RATIO[0] * 0.97 <= ratio <= RATIO[1] * 1.03
    assert Crop.drawn((300, 10), "0").box == (143, 0, 156, 10)  # nothing fits: the middle


def test_colours_follow_from_the_seed():
    from PIL import Image

    image = Image.fromarray(np.full((4, 4, 3), (200, 100, 50), np.uint8))
    looks = [np.asarray(jittered(image, str(seed)))[0, 0].tolist() for seed in range(30)]
    assert len({tuple(one) for one in looks}) > 15 and [200, 100, 50] in looks
    state = torch.random.get_rng_state()
    jittered(image, "0")
    assert torch.equal(state, torch.random.get_rng_state())
