import drawn_steerability as drawn
import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.steerability import core
from anomaly.steerability.core import Row
from anomaly.steerability.picture import of_bytes


class Given:
    """In place of `Steered`: one feature for each picture, whatever the prompt."""

    def __init__(self, features):
        self.given = np.asarray(features, float)

    def features(self, pictures, prompt):
        return self.given[: len(pictures)] / np.linalg.norm(
            self.given[: len(pictures)], axis=1, keepdims=True
        )


def rows(objects, ids):
    return [Row(of_bytes(b"", str(i)), one, "desk", name, f"the {name}") for i, (name, one) in
            enumerate(zip(objects, ids, strict=True))]  # fmt: skip


def test_by_hand():
    """mug 0 is nearest to its own variant 1, which does not count, then to mug 2; key 3 has nobody."""
    angles = np.deg2rad([0, 1, 10, 14])
    features = np.stack([np.cos(angles), np.sin(angles)], 1)
    given = rows(["mug", "mug", "mug", "key"], ["a", "a", "b", "c"])
    found = core.evaluate(given, Given(features), core.prompts_by_object(given))
    # queries: 0 -> 2 right; 1 -> 2 right; 2 -> 3, a key: wrong. The key has no positive and is left out.
    assert found["global"] == {"precision@1": pytest.approx(2 / 3), "n_queries": 3}
    assert found["per_scene"] == {
        "desk": {"mug": {"precision@1": pytest.approx(2 / 3), "n_queries": 3, "prompt": "the mug"}}
    }


@pytest.mark.parametrize("k", [1, 3])
def test_against_a_slow_computation(k):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 4))
    names, ids = rng.choice(["mug", "key", "pen"], 40), rng.choice(list("abcdefgh"), 40)
    given = rows(names, ids)
    found = core.evaluate(given, Given(features), None, k)
    unit, scores = features / np.linalg.norm(features, axis=1, keepdims=True), []
    for i in range(40):
        others = sorted((j for j in range(40) if ids[j] != ids[i]), key=lambda j: -unit[i] @ unit[j])
        if any(names[j] == names[i] for j in others):
            scores.append(sum(names[j] == names[i] for j in others[:k]) / k)
    assert found["global"] == {f"precision@{k}": pytest.approx(np.mean(scores)), "n_queries": len(scores)}


def test_the_miniature_in_the_official_layout(tmp_path):
    given = core.load(drawn.core(tmp_path))
    assert len(given) == 12 and given[0].scene == "desk" and given[0].image_id == given[1].image_id
    model = drawn.ColourModel()
    found = core.evaluate(given, model, core.prompts_by_object(given))
    assert found["global"]["precision@1"] == 1 and set(found["per_scene"]) == {"desk", "kitchen"}
    assert model.asked == [
        (6, f"the {name} on the {scene}") for scene in ("desk", "kitchen") for name in ("key", "mug")
    ]


def test_random_prompts_are_always_anothers(tmp_path):
    prompts = core.prompts_by_object(core.load(drawn.core(tmp_path)))
    wrong = core.random_prompts(prompts)
    assert wrong == core.random_prompts(prompts) and wrong["desk", "mug"] == "the key on the desk"
    assert all(wrong[key] != prompts[key] for key in prompts)
    with pytest.raises(SteerAnomalyError, match="second prompt"):
        core.random_prompts({("desk", "mug"): "the mug"})


def test_what_is_wrong_is_named(tmp_path):
    assert "found none" in core.problems(tmp_path)[0]
    found = core.problems(drawn.core(tmp_path / "mini"))
    assert (
        "expected 500 pictures in the scene desk, found 6" in found and "expected 6 scenes, found 2" in found
    )
    with pytest.raises(SteerAnomalyError, match="one prompt for mug"):
        core.prompts_by_object([Row(of_bytes(b"", ""), "a", "desk", "mug", text) for text in "xy"])
    with pytest.raises(SteerAnomalyError, match="nothing can be measured"):
        core.evaluate(rows(["mug"], ["a"]), Given([[1, 0]]), None)


def test_a_missing_column_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"image": [b"x"]}), tmp_path / "test-0.parquet")
    with pytest.raises(SteerAnomalyError, match="no image_id is there"):
        core.load(tmp_path)


def test_pictures_stay_on_disk_and_are_those_of_their_rows(tmp_path):
    import pyarrow.parquet as parquet

    place = drawn.core(tmp_path) / "data/test-00000-of-00001.parquet"
    table = parquet.read_table(place)
    parquet.write_table(table, place, row_group_size=5)
    images = [entry["bytes"] for entry in table["image"].to_pylist()]
    given = core.load(tmp_path)
    assert [row.picture.key for row in given] == [of_bytes(data, "").key for data in images]
    for i in (11, 0, 7, 6):  # in any order
        assert np.array_equal(given[i].picture.read(), of_bytes(images[i], "").read())
