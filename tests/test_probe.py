import drawn_representations as drawn
import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import probe, probe_sets
from anomaly.steerability.probe import ProbeSettings, fit, predicted


class MeanColour:
    """In place of `Steered`: a picture's feature is its mean colour, 0..1."""

    def __init__(self):
        self.asked = []

    def features(self, pictures, prompt, normalised):
        self.asked.append((len(pictures), prompt, normalised))
        return np.array([np.asarray(one.read(), float).mean((0, 1)) / 255 for one in pictures])


def test_the_three_sets_in_their_official_layouts(tmp_path):
    woof, birds, cars = probe.load(drawn.probe(tmp_path))
    assert (woof.name, birds.name, cars.name) == ("imagewoof", "waterbirds", "stanford_cars")
    assert [one.prompt for one in (woof, birds, cars)] == ["the dog", "the bird", "the car"]
    assert [one.classes for one in (woof, birds, cars)] == [2, 2, 2]
    assert [(len(one.train), len(one.test)) for one in (woof, birds, cars)] == [(6, 6), (8, 8), (6, 6)]
    assert [label for _, label in cars.train] == [0, 1, 0, 1, 0, 1] and cars.train[0][0].name == "00001.jpg"
    assert birds.groups[:2] == ("landbird on land",) * 2 and birds.groups[-1] == "waterbird on water"
    assert all(path.is_file() for one in (woof, birds, cars) for path, _ in (*one.train, *one.test))
    assert [one.name for one in probe.load(tmp_path / "stanford_cars")] == ["stanford_cars"]


def test_accuracy_by_set_their_mean_and_the_worst_group(tmp_path):
    """Half of the landbirds on water have the waterbirds' colour: 7 of 8 right, and 1 of 2 in that group."""
    model = MeanColour()
    settings = ProbeSettings(epochs=60, rate=0.05, batch=4)
    found = probe.evaluate(probe.load(drawn.probe(tmp_path)), model, settings=settings)
    birds = found["per_set"]["waterbirds"]
    assert birds["accuracy"] == 7 / 8
    assert birds["worst_group"] == {"name": "landbird on water", "accuracy": 0.5}
    assert found["global"] == {
        "accuracy": pytest.approx((1 + 7 / 8 + 1) / 3),
        "imagewoof": 1.0,
        "waterbirds": 7 / 8,
        "stanford_cars": 1.0,
        "waterbirds_worst_group": 0.5,
    }
    assert model.asked[0] == (6, "the dog", False)
    probe.evaluate(probe.load(tmp_path)[:1], model, False, ProbeSettings(1))
    assert model.asked[-1] == (6, None, False)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_against_scikit_learn(optimiser):
    """Trained long enough, the probe is logistic regression: the same classes for almost every point."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 5))
    labels = rng.integers(0, 3, 150)
    features = centres[labels] + rng.normal(0, 0.9, (150, 5))
    found = fit(features, labels, 3, ProbeSettings(150, 0.02, 32, optimiser))
    expected = LogisticRegression(C=1e4, max_iter=2000).fit(features, labels)
    tests = centres[rng.integers(0, 3, 300)] + rng.normal(0, 0.9, (300, 5))
    assert np.mean(predicted(tests, *found) == expected.predict(tests)) > 0.95


def test_by_hand_one_step_of_sgd():
    """Two points, all in one batch: the first step is the rate times the mean gradient of the cross-entropy."""
    x, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([0, 1])
    start, _ = fit(x, y, 2, ProbeSettings(1, 0.0, 2, "sgd"))
    after, bias = fit(x, y, 2, ProbeSettings(1, 0.1, 2, "sgd"))
    logits = x @ start.T
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = (share - np.eye(2)) / 2
    assert after == pytest.approx(start - 0.1 * wrong.T @ x, abs=1e-6)
    assert bias == pytest.approx(-0.1 * wrong.sum(0), abs=1e-6)


def test_a_seed_gives_the_same_probe_again():
    x, y = np.random.default_rng(1).normal(size=(20, 3)), np.arange(20) % 2
    once, again = (fit(x, y, 2, ProbeSettings(3, seed=5))[0] for _ in range(2))
    assert np.array_equal(once, again) and not np.array_equal(once, fit(x, y, 2, ProbeSettings(3, seed=6))[0])


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(SteerAnomalyError, match=r"expected in .* one of\n  imagewoof: train/ and val/"):
        probe.load(tmp_path)
    found = probe.problems(drawn.imagewoof(tmp_path))
    assert "waterbirds is missing" in found
    assert "imagewoof: expected 9025 training and 3929 test pictures, found 6 and 6" in found
    drawn.waterbirds(tmp_path)
    (tmp_path / "waterbird_complete95_forest2water2/21.Bird/picture_0_0.jpg").unlink()
    assert any(text.endswith("not found") for text in probe.problems(tmp_path))
    with pytest.raises(SteerAnomalyError, match="adam or sgd"):
        fit(np.ones((2, 2)), np.array([0, 1]), 2, ProbeSettings(optimiser="lion"))
    with pytest.raises(SteerAnomalyError, match="lower the learning rate"):
        fit(np.full((2, 2), 1e30), np.array([0, 1]), 2, ProbeSettings(3, 1e30, optimiser="sgd"))


def test_test_labels_of_cars_have_to_be_there(tmp_path):
    drawn.cars(tmp_path)
    (tmp_path / "stanford_cars" / probe_sets._CARS_TEST).unlink()
    assert "cars_test_annos_withlabels.mat" in probe.problems(tmp_path)[0]
    drawn.cars(tmp_path / "again")
    (tmp_path / "again/stanford_cars/devkit/cars_train_annos.mat").write_bytes(b"no MATLAB file")
    assert "expected annotations with fname and class" in probe.problems(tmp_path / "again")[0]
