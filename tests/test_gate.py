"""The gate: drawn pictures of a part, spoilt one way at a time."""

import json

import cv2
import numpy as np
import pytest

from anomaly.decision.gate import Gate, Limit, distances, learn, look
from anomaly.errors import SteerAnomalyError


def part(seed=0, size=(150, 200)):
    """A bright textured disc on a dark ground."""
    rng = np.random.default_rng(seed)
    image = rng.normal(70, 6, (*size, 3))
    centre = (size[1] // 2 + int(rng.integers(-5, 6)), size[0] // 2)
    disc = cv2.circle(np.zeros(size, np.uint8), centre, size[0] // 3, 1, -1).astype(bool)
    image[disc] = rng.normal(160 + rng.normal(0, 4), 12, (disc.sum(), 3))
    return image.clip(0, 255).astype(np.uint8)


def good(n=12):
    return [look(part(seed), distance=1 + 0.05 * seed) for seed in range(n)]


def names(gate, image, distance=1.2):
    return [reason.measure for reason in gate.reasons(look(image, distance))]


def test_looks_by_hand():
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    seen = look(image)
    assert (seen.brightness, seen.contrast, seen.dark, seen.bright) == (0.5, 0.5, 0.5, 0.5)
    assert (seen.side, seen.aspect, seen.distance) == (4, 2, None)
    assert seen.sharpness == pytest.approx(0.5 / (0.25 + 255**-2), rel=1e-5)  # Laplacian 0 1 -1 0, mean 0


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_good_pictures_pass_however_few_there_were_to_learn_from(n):
    gate = learn(good(n))
    for seed in range(20, 30):
        assert names(gate, part(seed)) == []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda image: (0.3 * image).astype(np.uint8), "brightness"),
        (lambda image: np.minimum(image + 120.0, 250).astype(np.uint8), "brightness"),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 3), "sharpness"),
        (lambda image: np.where(image < 75, 0, image), "dark"),
        (lambda image: np.where(image > 150, 255, image).astype(np.uint8), "bright"),
        (lambda image: np.full_like(image, 100), "contrast"),
        (lambda image: cv2.resize(image, None, fx=3, fy=3), "side"),
        (lambda image: image[:, 20:-20].copy(), "aspect"),
        (lambda image: np.rot90(image).copy(), "aspect"),
    ],
)
@pytest.mark.parametrize("n", [1, 12])
def test_each_way_of_being_unfit(spoil, expected, n):
    assert expected in names(learn(good(n)), spoil(part(40)))


def test_another_part_is_unfit_by_its_distance():
    reasons = learn(good()).reasons(look(part(40), 9.0))
    assert [reason.measure for reason in reasons] == ["distance"]
    assert reasons[0].sentence.startswith(
        "The picture is not this part at all: distance to the nearest reference 9,"
    )


def test_a_defect_is_no_reason():
    image = part(40)
    cv2.line(image, (60, 40), (140, 110), (20, 20, 20), 3)
    assert names(learn(good()), image) == []


def test_reasons_are_sentences():
    reason = learn(good()).reasons(look(np.zeros((150, 200, 3), np.uint8), 1.0))[0]
    assert reason.value == 0
    assert reason.sentence.startswith("The picture is too dark: mean brightness 0.0 %, expected at least ")


def test_exposure_alone_is_not_called_blur():
    assert names(learn(good()), (0.3 * part(40)).astype(np.uint8)).count("sharpness") == 0


def test_limits_ignore_a_bad_picture_among_the_good():
    clean, spoilt = learn(good()), learn([*good(), look(np.zeros((150, 200, 3), np.uint8), 1.0)])
    assert spoilt.limits["brightness"].low == pytest.approx(clean.limits["brightness"].low, abs=0.02)


def test_without_distances_they_are_not_looked_at_and_with_them_they_must_come():
    assert "distance" not in learn([look(part())]).limits
    with pytest.raises(SteerAnomalyError, match="got none; score with the profile's references"):
        learn(good()).reasons(look(part()))


def test_the_gate_is_saved_as_plain_values():
    gate = learn(good())
    assert Gate.from_dict(json.loads(json.dumps(gate.to_dict()))) == gate
    for wrong in (
        {"colour": {"low": 0.0, "high": 1.0}},
        {"dark": {"low": 0.0}},
        {"dark": {"low": 0.0, "high": float("nan")}},
        {"dark": {"low": "0", "high": 1}},
    ):
        with pytest.raises(SteerAnomalyError, match="expected limits low and high of"):
            Gate.from_dict(wrong)
    assert Gate({"dark": Limit(None, None)}).reasons(look(np.zeros((5, 5, 3), np.uint8))) == ()


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(SteerAnomalyError, match="expected an RGB picture"):
        look(image)


def test_what_cannot_be_learned_from():
    with pytest.raises(SteerAnomalyError, match="got none"):
        learn([])
    with pytest.raises(SteerAnomalyError, match="finite distance"):
        look(part(), float("nan"))


def test_one_pixel_is_measured():
    seen = look(np.full((1, 1, 3), 128, np.uint8))
    assert (seen.contrast, seen.sharpness) == (0, 0)


def test_distances_by_hand():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
    assert distances(points, points[:1]).tolist() == pytest.approx([0, 5, 34**0.5])
    assert distances(points, points, itself=True).tolist() == [5, 1, 1]
    with pytest.raises(SteerAnomalyError, match="two good pictures"):
        distances(points[:1], points[:1], itself=True)
