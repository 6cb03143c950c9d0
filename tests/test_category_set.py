"""A category whose images are compared with each other: observed once, compared anew when the set changes."""

import json
import os

import drawn_datasets as drawn
import numpy as np
import pytest
from fake_inspector import FakeInspector

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.labelled import TestImages
from anomaly.evaluation.run import Options, evaluate
from anomaly.observation import Observation
from anomaly.pictures.maps import map_path
from anomaly.testsets.layouts import mvtec
from steervit.processes import Processes

ALONE = Processes()


class Together(FakeInspector):
    """A picture is as odd as it is brighter than the mean picture of the set; counts what it observes."""

    mutual = True
    description_hash = "ab" * 32
    stop_at = None  # images concluded until it is "killed"

    def observe(self, images, object):
        self.inspected += [object] * len(images)
        return [self._observed(image, object) for image in images]

    def compare_all(self, observed, object, folder):
        means = [one.own.mean(dtype=np.float64) for one in observed]
        if len(means) < 2:
            raise SteerAnomalyError(f"expected at least 2 images, got {len(means)}")
        return float(np.mean(means))

    def conclude(self, observation, comparison):
        if self.stop_at is not None:
            self.stop_at -= 1
            if self.stop_at < 0:
                raise KeyboardInterrupt
        return self._inspect(observation.own[..., None].repeat(3, 2) - comparison, observation.object)

    @staticmethod
    def _observed(image, object):
        grey = image.mean(2, dtype=np.float32)
        return Observation(grey, grey.shape, grey.shape, object)

    def _inspect(self, image, object):
        found = super()._inspect(image, object)
        heatmap = image.mean(axis=2, dtype=np.float32)
        return type(found)(float(heatmap.max()), None, heatmap, found.mask, (), None, object, self.name, 1.5)


@pytest.fixture
def cup(tmp_path):
    return TestImages("cup", "coffee cup", mvtec(drawn.mvtec_category(tmp_path / "cup")))


def run(images, out, inspector):
    (result,) = evaluate(inspector, "folder", [images], out, Options(batch_size=2, save_maps=True), ALONE)
    return result


def maps_of(out, images):
    return {s.key: map_path(out / "maps", "cup", s.key).read_bytes() for s in images.samples}


def test_an_interrupted_evaluation_observes_nothing_twice_and_ends_with_the_same_bytes(cup, tmp_path):
    whole = run(cup, tmp_path / "whole", Together())
    stopped = Together()
    stopped.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        run(cup, tmp_path / "out", stopped)
    going_on = Together()
    assert run(cup, tmp_path / "out", going_on).metrics == whole.metrics
    assert going_on.inspected == [] and len(stopped.inspected) == len(cup.samples)
    assert maps_of(tmp_path / "out", cup) == maps_of(tmp_path / "whole", cup)
    assert not (tmp_path / "out/observations").exists()


def test_a_set_that_changed_is_judged_anew(cup, tmp_path):
    fewer = TestImages("cup", "coffee cup", cup.samples[:-1])
    stopped = Together()
    run(fewer, tmp_path / "out", stopped)
    run(cup, tmp_path / "out", Together())
    run(cup, tmp_path / "alone", Together())
    assert maps_of(tmp_path / "out", cup) == maps_of(tmp_path / "alone", cup)  # none of the smaller set's


def test_a_changed_image_is_observed_again_and_all_are_judged_again(cup, tmp_path):
    stopped = Together()
    stopped.stop_at = len(cup.samples) - 1
    with pytest.raises(KeyboardInterrupt):
        run(cup, tmp_path / "out", stopped)
    drawn.draw(cup.samples[0].image, None, seed=99)
    os.utime(cup.samples[0].image, ns=(1, 1))
    again = Together()
    run(cup, tmp_path / "out", again)
    run(cup, tmp_path / "whole", Together())
    assert len(again.inspected) == 1
    assert maps_of(tmp_path / "out", cup) == maps_of(tmp_path / "whole", cup)


def test_what_cannot_be_read_is_left_out_and_no_part_of_the_set(cup, tmp_path):
    cup.samples[2].image.write_bytes(b"not a picture")
    drawn.write(cup.samples[0].masks[0], np.zeros((24, 32), np.uint8))  # black: left out when it is scored
    result = run(cup, tmp_path / "out", Together())
    assert len(result.left_out) == 2 and result.good + result.defective == len(cup.samples) - 2
    assert (tmp_path / "out/observations").is_dir()  # they may be completed
    lines = [json.loads(line) for line in (tmp_path / "out/journal/cup.0.jsonl").read_text().splitlines()]
    assert len({line["set"] for line in lines}) == 1


def test_one_image_is_no_set(cup, tmp_path):
    with pytest.raises(SteerAnomalyError, match="at least 2 images"):
        run(TestImages("cup", "coffee cup", cup.samples[:1]), tmp_path / "out", Together())
