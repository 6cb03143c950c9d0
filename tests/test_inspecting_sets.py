"""A set is observed once, compared as a whole and judged; an interruption changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from anomaly.decision.gate import look
from anomaly.errors import NotJudged
from anomaly.evidence.descriptions import Description
from anomaly.inspection import Inspection
from anomaly.observation import Observation
from anomaly.runs.folder import ResultFolder
from anomaly.runs.inspecting_sets import done_as_a_set, inspect_set_into
from anomaly.runs.observations import Observations

INFO = {"object": "part", "settings": {"model": "fake"}}


class SetInspector:
    """A pixel is as odd as it is brighter than the mean of the set."""

    description_hash = "ab" * 32

    def __init__(self, fails_at: int | None = None) -> None:
        self.observed, self.fails_at = 0, fails_at

    def describe(self):
        return {"device": "none"}

    def observe(self, images, object):
        if self.fails_at is not None and self.observed >= self.fails_at:
            raise KeyboardInterrupt
        self.observed += len(images)
        return [self._observe(image, object) for image in images]

    def _observe(self, image, object):
        own = image[::2, ::2, 0].astype(np.float32)
        own[own == 255] = np.nan  # a picture that the model cannot look at
        patches = np.random.default_rng(int(image[0, 0, 0])).random((2, 3, 4), np.float32)
        return Observation(own, image.shape[:2], image.shape[:2], object, {"lines": own / 3}, 5.0,
                           Description(patches, f"{image[0, 0, 0]:08x}"))  # fmt: skip

    def compare_all(self, observed, object, folder):
        return np.float32(np.mean([one.own.mean() for one in observed]))

    def conclude(self, observation, mean):
        heatmap = np.kron(observation.own - mean, np.ones((2, 2), np.float32))
        if observation.description.content == f"{77:08x}":
            return NotJudged("nothing to compare it with")
        return Inspection(float(heatmap.max()), None, heatmap, heatmap > 1e9, (), None, "part", "fake")


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    folder = tmp_path / "img"
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (6, 4), (10 * i, 0, 0)).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def inspect(paths, out, inspector, **more):
    with ResultFolder(out, INFO) as folder:
        return list(inspect_set_into(folder, paths, [paths[0].parent], inspector, "part", **more))


def test_every_image_is_judged_by_what_all_are_like(paths, tmp_path):
    rows = inspect(paths, tmp_path / "out", SetInspector())
    assert [row.score for row in rows] == [10 * i - 25.0 for i in range(6)]
    assert np.all(tifffile.imread(tmp_path / "out/heatmaps/5.tiff") == 25)


def test_an_interrupted_run_observes_nothing_twice_and_ends_alike(paths, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        inspect(paths, tmp_path / "out", SetInspector(fails_at=3), batch_size=1)
    kept = len(list((tmp_path / "out/observations").glob("*.npz")))
    again = SetInspector()
    rows = inspect(paths, tmp_path / "out", again)
    assert kept >= 1 and again.observed == 6 - kept
    whole = inspect(paths, tmp_path / "whole", SetInspector())
    assert [row.score for row in rows] == [row.score for row in whole]


def test_a_new_image_changes_the_others_verdicts_without_another_look(paths, tmp_path):
    inspect(paths[:5], tmp_path / "out", SetInspector())
    again = SetInspector()
    rows = inspect(paths, tmp_path / "out", again)
    assert again.observed == 1 and [row.score for row in rows] == [10 * i - 25.0 for i in range(6)]
    Image.new("RGB", (6, 4), (200, 0, 0)).save(paths[0])
    again = SetInspector()
    assert inspect(paths, tmp_path / "out", again)[0].score == pytest.approx(200 - (200 + 150) / 6, abs=1e-4)
    assert again.observed == 1


def test_what_fails_is_no_part_of_the_set(paths, tmp_path):
    paths[0].write_bytes(b"no image")
    Image.new("RGB", (6, 4), (255, 0, 0)).save(paths[1])
    Image.new("RGB", (6, 4), (77, 0, 0)).save(paths[2])
    rows = {row.name: row for row in inspect(paths, tmp_path / "out", SetInspector())}
    assert [rows[name].verdict for name in "012345"] == ["unreadable", "failed", "failed", *["unjudged"] * 3]
    assert "not finite" in rows["1"].error and "nothing to compare" in rows["2"].error
    assert rows["5"].score == pytest.approx(50 - (77 + 30 + 40 + 50) / 4, abs=1e-4)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["counts"]["failed"] == 2


def test_an_observation_comes_back(tmp_path):
    image = np.full((4, 6, 3), 9, np.uint8)
    observation = replace(SetInspector()._observe(image, "part"), look=look(image))
    kept = Observations(tmp_path, "ab" * 32)
    kept.save("a/b", observation, (3, 4))
    kept.save("copy", observation, (3, 4))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1  # patches are kept once for all copies
    found = kept.load("a/b")
    assert kept.has("a/b", (3, 4)) and not kept.has("a/b", (3, 5)) and not kept.has("a/c", (3, 4))
    assert np.array_equal(found.own, observation.own) and found.own.dtype == np.float32
    assert np.array_equal(found.evidence["lines"], observation.evidence["lines"])
    assert (found.size_hw, found.seen_hw, found.object, found.milliseconds) == ((4, 6), (4, 6), "part", 5.0)
    assert found.look == observation.look  # or the gate would be silent in company
    assert found.description.content == f"{9:08x}" and found.description.grid == (2, 3)
    assert "patches" not in vars(found.description)  # which are not read before they are needed
    np.testing.assert_allclose(found.description.patches, observation.description.patches, rtol=1e-3)
    next(tmp_path.rglob("*.safetensors")).write_bytes(b"torn")
    assert not kept.has("copy", (3, 4))
    kept.path_of("a/b").write_bytes(b"torn")
    assert not kept.has("a/b", (3, 4))


def test_rows_name_their_set_and_it_is_done_only_as_a_whole(paths, tmp_path):
    rows = inspect(paths[:5], tmp_path / "out", SetInspector())
    assert len({row.set for row in rows}) == 1 and rows[0].set is not None
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert done_as_a_set(folder, paths[:5]) and done_as_a_set(folder, paths[4::-1])
        assert not done_as_a_set(folder, paths[:4]) and not done_as_a_set(folder, paths)
    again = inspect(paths, tmp_path / "out", SetInspector())
    assert {row.set for row in again}.isdisjoint({rows[0].set})


def test_another_order_of_files_gives_the_same_set(paths, tmp_path):
    forth, back = (
        inspect(order, tmp_path / str(i), SetInspector()) for i, order in enumerate((paths, paths[::-1]))
    )
    assert {row.set for row in forth} == {row.set for row in back}
