from types import SimpleNamespace

import drawn_representations as drawn
import numpy as np
import pytest
import torch

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import ade20k
from anomaly.steerability.ade20k import STD_TYPO, MemorySettings
from anomaly.steerability.ade20k_scenes import Scene
from anomaly.steerability.steered import Steered


class ColourPatches:
    """An `Encoder` whose patches are mean colours: 32 px, 4 x 4 patches. Text turns them round, one by one."""

    name, image_size, grid_size = "colours", (32, 32), (4, 4)

    def __init__(self):
        self.asked, self.seen = [], 0

    def transform(self, whole):
        assert whole
        return lambda image: torch.from_numpy(np.asarray(image, np.float32).copy() / 255).permute(2, 0, 1)

    def dense_features(self, images, texts):
        self.asked.append(texts and texts[0])
        self.seen += len(images)
        return torch.nn.functional.avg_pool2d(images, 8).flatten(2).transpose(1, 2) - 0.5


@pytest.fixture
def scenes(tmp_path):
    return ade20k.load(drawn.ade20k(tmp_path / "data"))


def settings(**others):
    return MemorySettings(**{"size": 64, "neighbours": 3, "augmented": False, **others})


def test_the_miniature_in_the_official_layout(scenes):
    assert len(scenes.training) == 4 and len(scenes.validation) == 2
    assert scenes.names[0] == "wall" and scenes.names[3] == "floor" and len(scenes.names) == 150
    one = Scene(*scenes.training[0], side=32)
    assert one.read().size == (32, 32) and one.labels().shape == (32, 32)
    assert one.labels()[-1].tolist() == [1] * 16 + [4] * 16


def test_all_classes_at_once(scenes, tmp_path):
    """Colours tell the three classes apart: what is not found is the two rows of no class and patch borders."""
    model = ColourPatches()
    found = ade20k.evaluate_classes(scenes, Steered(model, tmp_path, {}), settings())
    assert set(model.asked) == {None}
    there = {name: value for name, value in found["per_class"].items() if value}
    assert set(there) == {"wall", "floor", "car"} and min(there.values()) > 0.85
    assert found["global"]["miou"] == pytest.approx(sum(there.values()) / 151)
    assert found["global"]["miou_matched"] >= found["global"]["miou"]


def test_one_class_against_the_rest_with_its_prompt(scenes, tmp_path):
    model = ColourPatches()
    found = ade20k.evaluate_binary(scenes, Steered(model, tmp_path, {}), "the {object}", settings())
    assert list(found["per_class"]) == ["wall", "floor", "car"] and found["global"]["classes"] == 3
    assert list(dict.fromkeys(model.asked)) == ["the wall", "the floor", "the car"]
    assert found["per_class"]["floor"]["pictures"] == 2
    ious = [one["iou"] for one in found["per_class"].values()]
    assert min(ious) > 0.85 and found["global"]["binary_iou"] == pytest.approx(np.mean(ious))
    assert not list(tmp_path.rglob("*.safetensors"))  # a class's memory goes when it is done
    again = ColourPatches()
    assert ade20k.evaluate_binary(scenes, Steered(again, tmp_path, {}), "the {object}", settings()) == found
    assert not again.seen
    without = ColourPatches()
    ade20k.evaluate_binary(scenes, Steered(without, tmp_path / "b", {}), None, settings())
    assert set(without.asked) == {None}


def test_it_goes_on_where_it_stopped(scenes, tmp_path):
    steered = Steered(ColourPatches(), tmp_path, {})
    first = ade20k.evaluate_classes(scenes, steered, settings())
    again = ColourPatches()
    assert (
        ade20k.evaluate_classes(scenes, Steered(again, tmp_path, {}), settings()) == first and not again.seen
    )
    ade20k.evaluate_classes(scenes, Steered(again, tmp_path, {}), settings(neighbours=1))
    assert again.seen == 2  # the memory is there, the pictures are asked anew


def test_the_memory_holds_as_many_patches_of_each_picture(scenes, tmp_path):
    said = []
    ade20k.evaluate_classes(
        scenes, Steered(ColourPatches(), tmp_path, {}), settings(size=20), progress=said.append
    )
    assert said == ["memory: 20 patches of 4 pictures"]
    model = ColourPatches()
    ade20k.evaluate_binary(scenes, Steered(model, tmp_path, {}), None, settings(pictures=1))
    assert model.seen == 3 * 1 + 1 + 2 + 1


def test_crops_and_colours_are_drawn_for_training_pictures(scenes, tmp_path):
    plain, drawn_one = (Scene(*scenes.training[0], 32, seed) for seed in (None, 3))
    assert plain.key != drawn_one.key
    assert np.array_equal(drawn_one.read(), drawn_one.read()) and not np.array_equal(
        plain.read(), drawn_one.read()
    )
    found = ade20k.evaluate_classes(scenes, Steered(ColourPatches(), tmp_path, {}), settings(augmented=True))
    assert found["per_class"]["floor"] > 0.5


def test_the_typo_is_an_option(scenes, tmp_path):
    task = ade20k._Task(
        SimpleNamespace(encoder=ColourPatches()), None, settings(std_typo=True), ade20k._Every(), "cpu"
    )
    image = Scene(*scenes.training[0], 32).read()
    plain = ColourPatches().transform(True)(image)
    typo = task._prepare()(image)
    assert torch.equal(plain[:2], typo[:2]) and torch.allclose(typo[2], plain[2] * STD_TYPO)


def test_what_is_wrong_is_named(scenes, tmp_path):
    assert "expected images/training" in ade20k.problems(tmp_path / "none")[0]
    place = tmp_path / "data/ADEChallengeData2016"
    assert ade20k.problems(place) == [
        "expected 20210 training pictures, found 4",
        "expected 2000 validation pictures, found 2",
    ]
    from PIL import Image

    Image.fromarray(np.full((4, 4), 200, np.uint8)).save(scenes.validation[0][1])
    Image.fromarray(np.full((4, 4), 1, np.uint8)).save(scenes.validation[1][1])
    found = "\n".join(ade20k.problems(place))
    assert "expected class numbers 0 to 150" in found and "as large as its picture" in found
    (place / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n")
    assert "expected 150 classes" in ade20k.problems(place)[0]
    scenes.training[0][1].unlink()
    assert "not found; expected ADE20k as unpacked" in ade20k.problems(place)[0]
    with pytest.raises(SteerAnomalyError, match="found none"):
        ade20k.evaluate_binary(ade20k.Scenes((), (), scenes.names), None, None, settings())
