import drawn_steerability as drawn
import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import pods
from anomaly.steerability.pods import _figures


def test_figures_by_hand():
    """Two training pictures an object (columns), three test pictures; the first two are of the object."""
    similarity = np.array([[0.9, 0.1, 0.5, 0.2], [0.2, 0.3, 0.8, 0.1], [0.1, 0.6, 0.2, 0.3]])
    found = _figures(similarity, np.array([True, True, False, False]), np.array([True, True, False]))
    # scores .9, .3, .6: the right ones at ranks 1 and 3
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    ideal = 1 + 1 / np.log2(3)
    first, second = (1 + 1 / np.log2(5)) / ideal, (1 / np.log2(3) + 1 / np.log2(4)) / ideal
    assert found["ndcg"] == pytest.approx((first + second) / 2) and found["top10"] == 1


def test_figures_against_a_slow_computation():
    rng = np.random.default_rng(0)
    similarity, train, test = rng.random((50, 12)), np.arange(12) < 3, rng.random(50) < 0.3
    found = _figures(similarity, train, test)
    order = np.argsort(-similarity[:, :3].max(1))
    precisions = [test[order[: i + 1]].mean() for i in range(50) if test[order[i]]]
    assert found["average_precision"] == pytest.approx(np.mean(precisions))


def test_the_miniature_in_the_official_layout(tmp_path):
    objects = pods.load(drawn.pods(tmp_path))
    assert objects.measured == ["mug_a", "key_a", "pen_a"] and len(objects.train["cat_a"]) == 3
    model = drawn.ColourModel()
    found = pods.evaluate(objects, model, pods.coarse_prompts(objects))
    assert found["per_object"]["pen_a"]["prompt"] == "the key" and found["global"]["objects"] == 3
    assert found["global"]["average_precision"] == found["global"]["mrr"] == 1
    assert pods.evaluate(objects, model, None)["per_object"]["mug_a"]["prompt"] is None
    assert model.asked[-1] == (8, None) and model.asked[-2] == (12, None)


def test_sentences_from_a_file(tmp_path):
    objects = pods.load(drawn.pods(tmp_path))
    path = tmp_path / "fine.yaml"
    path.write_text("mug_a: the red mug\nkey_a: the green key\npen_a: the blue pen\n")
    assert pods.read_prompts(path, objects)["pen_a"] == "the blue pen"
    path.write_text("mug_a: the red mug\n")
    with pytest.raises(SteerAnomalyError, match="none for key_a"):
        pods.read_prompts(path, objects)


def test_what_is_wrong_is_named(tmp_path):
    assert "pods_info.json" in pods.problems(tmp_path)[0]
    drawn.pods(tmp_path)
    (tmp_path / "train/mug_a/0.jpg").unlink()
    (tmp_path / "test/key_a/0.jpg").write_bytes(b"")
    found = pods.problems(tmp_path)
    assert found[:2] == ["expected 100 objects, found 4", "expected 70 test objects, found 3"]
    assert found[2] == "mug_a: expected 3 training pictures, found 2" and "0 bytes" in found[3]
    (tmp_path / "pods_info.json").write_text('{"classes": ["a"], "class_to_sc": {}, "class_to_split": {}}')
    with pytest.raises(SteerAnomalyError, match="class_to_split of every class"):
        pods.load(tmp_path)
