import json

import drawn_steerability as drawn
import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import genecis


class Numbered:
    """In place of `Steered`: features in the order of the pictures that are asked for (sorted by path)."""

    def __init__(self, features):
        self.given = np.asarray(features, float)

    def features(self, pictures, prompt):
        return self.given[: len(pictures)]


def test_the_target_comes_first_in_the_gallery_and_ids_are_file_names(tmp_path):
    questions = genecis.load(drawn.genecis(tmp_path))
    assert len(questions) == 4 and all(len(one.gallery) == 15 for one in questions)
    assert questions[1].reference == tmp_path / "val2017/000000000100.jpg"
    assert questions[1].gallery[0] == tmp_path / "val2017/000000000101.jpg"


def test_recalls_by_hand(tmp_path):
    """Picture 0 asks; picture 1, the target, is only the second most similar."""
    questions = genecis.load(drawn.genecis(tmp_path, questions=1))
    angles = np.deg2rad([0, 10, 5, *range(20, 33)])
    found = genecis.evaluate(questions, Numbered(np.stack([np.cos(angles), np.sin(angles)], 1)))
    assert found["global"] == {"recall@1": 0, "recall@2": 1, "recall@3": 1, "questions": 1}


def test_recalls_against_a_sorted_list(tmp_path):
    from sklearn.metrics import top_k_accuracy_score

    questions = genecis.load(drawn.genecis(tmp_path, questions=1))
    for seed in range(10):
        features = np.random.default_rng(seed).normal(size=(16, 5))
        found = genecis.evaluate(questions, Numbered(features))["global"]
        similarity = [features[1:] @ features[0]]
        for k in (1, 2, 3):
            assert found[f"recall@{k}"] == top_k_accuracy_score([0], similarity, k=k, labels=range(15))


def test_the_miniature(tmp_path):
    model = drawn.ColourModel()
    found = genecis.evaluate(genecis.load(drawn.genecis(tmp_path)), model)
    assert found["global"] == {"recall@1": 1, "recall@2": 1, "recall@3": 1, "questions": 4}
    assert model.asked == [(16, "the key"), (32, "the mug"), (16, "the pen")]
    genecis.evaluate(genecis.load(tmp_path), model, None)
    assert model.asked[-1][1] is None


def test_what_is_wrong_is_named(tmp_path):
    assert "focus_object.json" in genecis.problems(tmp_path)[0]
    drawn.genecis(tmp_path)
    (tmp_path / "val2017/000000000003.jpg").unlink()
    found = genecis.problems(tmp_path)
    assert found[0] == "expected 1960 questions, found 4" and "000000000003.jpg: not found" in found[1]
    (tmp_path / "focus_object.json").write_text(json.dumps([{"condition": "cup"}]))
    with pytest.raises(SteerAnomalyError, match="KeyError: 'target'"):
        genecis.load(tmp_path)
    with pytest.raises(SteerAnomalyError, match="found none"):
        genecis.evaluate([], drawn.ColourModel())
