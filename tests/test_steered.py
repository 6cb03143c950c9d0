from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import drawn_steerability as drawn
import numpy as np
import pytest
import torch
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.steerability.encoders import ModelEncoder
from anomaly.steerability.feature_cache import FeatureCache
from anomaly.steerability.picture import Picture, of_bytes, of_file
from anomaly.steerability.steered import Steered
from steervit import SteerViT
from steervit.processes import Processes

GOLDEN = Path(__file__).parent / "golden" / "steervit"


@pytest.fixture(scope="module")
def model():
    return SteerViT.from_pretrained(
        GOLDEN / "steervit.pth", trunk=GOLDEN / "trunk.safetensors", text_encoder=GOLDEN / "tiny-roberta"
    )


def steer(model, folder, settings, omega=1.0, **others):
    return Steered(ModelEncoder(model, omega), folder, {**settings, "omega": omega}, **others)


@pytest.fixture
def pictures():
    return [of_bytes(drawn.jpeg(name, i), name) for i, name in enumerate(drawn.COLOURS)]


def test_features_are_the_models_own_of_length_one(model, pictures, tmp_path):
    found = steer(model, tmp_path, {}, batch_size=3).features(pictures, "the mug")
    images = torch.stack([model.get_transforms()(one.read()) for one in pictures])
    expected = torch.nn.functional.normalize(model.get_global_features(images, ["the mug"] * 4), dim=-1)
    assert found == pytest.approx(expected.numpy(), abs=1e-5)
    assert model.omega == 1


def test_attention_sees_the_whole_picture(model, pictures, tmp_path):
    maps = steer(model, tmp_path, {}).attention(pictures, "the mug")
    assert maps.shape == (4, *model.grid_size) and maps.min() >= 0 and maps.max() <= 1


def test_each_feature_is_computed_once_and_kept(model, pictures, tmp_path):
    read = []

    def counted(one):
        return Picture(one.key, lambda: read.append(one.key) or one.read())

    counting = [counted(one) for one in pictures]
    first = steer(model, tmp_path, {"hashes": 1}).features([*counting[:2], counting[0]], "a")
    assert len(read) == 2 and np.array_equal(first[0], first[2])
    again = steer(model, tmp_path, {"hashes": 1}).features(counting, "a")
    assert len(read) == 4 and np.array_equal(again[:2], first[:2])
    for settings, omega, prompt in (
        ({"hashes": 2}, 1, "a"),
        ({"hashes": 1}, 0.5, "a"),
        ({"hashes": 1}, 1, None),
    ):
        before = len(read)
        steer(model, tmp_path, settings, omega).features(counting, prompt)
        assert len(read) == before + 4


def test_a_damaged_piece_is_computed_anew(model, pictures, tmp_path):
    first = steer(model, tmp_path, {}).features(pictures, "a")
    (piece,) = tmp_path.rglob("*.safetensors")
    piece.write_bytes(piece.read_bytes()[:40])
    assert np.array_equal(steer(model, tmp_path, {}).features(pictures, "a"), first)


def test_a_prompt_is_not_no_prompt(tmp_path):
    cache = FeatureCache(tmp_path, {})
    cache.add("", {"k": np.ones(2, np.float32)})
    assert cache.read(None) == {} and cache.read("")["k"].tolist() == [1, 1]


def test_features_that_are_not_numbers_are_refused(model, tmp_path, pictures):
    steered = steer(model, tmp_path, {})
    steered.encoder.global_features = lambda images, texts: torch.full((len(images), 3), torch.nan)
    with pytest.raises(SteerAnomalyError, match="finite"):
        steered.features(pictures, "a")
    steered.encoder.global_features = lambda images, texts: torch.zeros(len(images), 3)
    with pytest.raises(SteerAnomalyError, match="got 0"):
        steered.features(pictures, "b")


def test_equal_pictures_have_one_key_and_others_say_what_is_wrong(tmp_path):
    data = drawn.jpeg("mug", 0)
    (tmp_path / "a.jpg").write_bytes(data)
    assert of_file(tmp_path / "a.jpg").key == of_bytes(data, "row 0").key
    assert isinstance(of_file(tmp_path / "a.jpg").read(), Image.Image)
    with pytest.raises(SteerAnomalyError, match="row 3"):
        of_bytes(b"no picture", "row 3").read()
    with pytest.raises(SteerAnomalyError, match="expected a picture at"):
        of_file(tmp_path / "none.jpg")


def test_a_picture_that_cannot_be_read_ends_the_evaluation(model, pictures, tmp_path):
    with pytest.raises(SteerAnomalyError, match="expected a picture in broken"):
        steer(model, tmp_path, {}).features([*pictures, of_bytes(b"no picture", "broken")], "a")


def test_processes_share_what_is_missing_and_all_have_all(model, pictures, tmp_path):
    meeting = Barrier(2)

    class Two(Processes):
        def wait(self):
            meeting.wait(20)

    both = [steer(model, tmp_path, {}, processes=Two(rank, 2)) for rank in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda one: one.features(pictures, "a"), both)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2  # a piece of two pictures from each
    assert np.array_equal(first, second)
    assert first == pytest.approx(steer(model, tmp_path / "alone", {}).features(pictures, "a"), abs=1e-5)
