import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import drawn_datasets as drawn
import numpy as np
import pytest
from fake_inspector import FakeInspector
from sklearn.metrics import average_precision_score, roc_auc_score

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.category import Category, inspect_category
from anomaly.evaluation.labelled import ImageScore, TestImages
from anomaly.evaluation.run import Options, evaluate
from anomaly.evaluation.scoring import score_category
from anomaly.pictures import maps
from anomaly.pictures.images import read_image
from anomaly.pictures.maps import map_path, read_map
from anomaly.runs.journal import Journal, read_lines
from anomaly.testsets.folder_layout import folder_samples
from anomaly.testsets.layouts import mvtec
from anomaly.testsets.samples import read_mask
from steervit.processes import Processes

DRIVER = Path(__file__).with_name("evaluation_driver.py")
ALONE = Processes()


@pytest.fixture
def cup(tmp_path):
    return TestImages("cup", "coffee cup", mvtec(drawn.mvtec_category(tmp_path / "cup")))


def run(images, out, inspector=None, **options):
    inspector = inspector or FakeInspector()
    (result,) = evaluate(
        inspector, "folder", [images], out, Options(**{"batch_size": 2, "save_maps": True, **options}), ALONE
    )
    return result


def figures(out, name):
    content = json.loads((out / f"categories/{name}.json").read_text())["result"]
    for row in content["images"]:
        row.pop("milliseconds")
    return content


def test_figures_are_those_of_all_pixels_at_original_size(cup, tmp_path):
    result = run(cup, tmp_path / "out")
    maps = [read_map(map_path(tmp_path / "out/maps", "cup", s.key)) for s in cup.samples]
    truth = np.concatenate([read_mask(s, m.shape).ravel() for s, m in zip(cup.samples, maps, strict=True)])
    scores = np.concatenate([m.ravel() for m in maps])
    assert result.metrics["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    assert result.metrics["pixel_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    labels, image_scores = [s.defective for s in cup.samples], [r.score for r in result.images]
    assert result.metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, image_scores))
    assert (result.good, result.defective) == (2, 4)
    assert len(result.regions) == 4 and all(area == 49 for area, _ in result.regions)
    assert np.mean([pro for _, pro in result.regions]) == pytest.approx(result.metrics["pro"], abs=0.01)
    assert result.provenance["pro"]["limit"] == 0.3 and result.provenance["pro"]["connectivity"] == 8
    assert result.seg_f1 is None


def test_seg_f1_needs_a_threshold_and_pools_pixels(cup, tmp_path):
    result = run(cup, tmp_path / "out", FakeInspector(threshold=20.0))
    maps = [read_map(map_path(tmp_path / "out/maps", "cup", s.key)) >= 20 for s in cup.samples]
    masks = [read_mask(s, m.shape) for s, m in zip(cup.samples, maps, strict=True)]
    tp = sum(int((m & t).sum()) for m, t in zip(maps, masks, strict=True))
    assert result.seg_f1 == pytest.approx(
        2 * tp / sum(int(m.sum() + t.sum()) for m, t in zip(maps, masks, strict=True))
    )


def test_a_second_run_inspects_nothing(cup, tmp_path):
    first = run(cup, tmp_path / "out", save_maps=False)
    assert not (tmp_path / "out/maps").exists()
    again = FakeInspector()
    assert run(cup, tmp_path / "out", again, save_maps=False) == first and again.inspected == []
    run(cup, tmp_path / "out", again, save_maps=True)  # the maps are wanted now, and gone
    assert len(again.inspected) == 6


def test_a_changed_image_and_another_object_name_are_inspected_again(cup, tmp_path):
    run(cup, tmp_path / "out")
    drawn.draw(cup.samples[0].image, None, seed=99)
    os.utime(cup.samples[0].image, ns=(1, 1))
    again = FakeInspector()
    run(cup, tmp_path / "out", again)
    assert len(again.inspected) == 1
    run(TestImages("cup", "mug", cup.samples), tmp_path / "out", again)
    assert again.inspected[1:] == ["mug"] * 6


def test_a_changed_mask_counts_anew(cup, tmp_path):
    first = run(cup, tmp_path / "out", FakeInspector(threshold=20.0))
    drawn.write(cup.samples[0].masks[0], np.full((24, 32), 255, np.uint8))
    second = run(cup, tmp_path / "out", FakeInspector(threshold=20.0))
    assert second.seg_f1 < first.seg_f1 and second.metrics["pro"] != first.metrics["pro"]


def test_other_settings_are_refused_in_the_same_folder(cup, tmp_path):
    run(cup, tmp_path / "out")
    with pytest.raises(SteerAnomalyError, match=r'model: "fake" there, "better" now.*another folder'):
        run(cup, tmp_path / "out", FakeInspector(name="better"))


def test_bad_files_leave_their_image_out_and_the_rest_stands(cup, tmp_path):
    drawn.write(cup.samples[0].masks[0], np.zeros((24, 32), np.uint8))
    drawn.write(cup.samples[1].masks[0], np.ones((48, 64), np.uint8))
    cup.samples[2].image.write_bytes(b"not a picture")
    result = run(cup, tmp_path / "out", save_maps=False)
    reasons = [entry["reason"] for entry in result.left_out]
    assert len(reasons) == 3 and (result.good, result.defective) == (1, 2)
    assert (
        "all black" in reasons[0] and "larger than its image" in reasons[1] and "good/000.png" in reasons[2]
    )
    for sample, seed in zip(cup.samples[:3], (0, 1, 2), strict=True):
        drawn.draw(sample.image, sample.masks[0] if sample.masks else None, seed)
    again = FakeInspector()
    mended = run(cup, tmp_path / "out", again, save_maps=False)
    assert mended.left_out == [] and len(again.inspected) == 3  # what was sound is not done again


def among(image, samples):
    return any(np.array_equal(image, read_image(sample.image)) for sample in samples)


def test_nan_in_a_map_leaves_the_image_out_by_name(cup, tmp_path):
    class Broken(FakeInspector):
        def _inspect(self, image, object):
            found = super()._inspect(image, object)
            if among(image, cup.samples[4:]):
                found.heatmap[3, 3] = np.nan
            return found

    result = run(cup, tmp_path / "out", Broken())
    assert [Path(e["file"]).name for e in result.left_out] == ["000.png", "001.png"]
    assert all("not finite" in e["reason"] and e["file"] in e["reason"] for e in result.left_out)


def test_only_defective_images_give_what_is_defined(tmp_path):
    folder = drawn.mvtec_category(tmp_path / "road", good=0)
    result = run(TestImages("road", "road", mvtec(folder)), tmp_path / "out")
    assert (
        result.metrics["image_auroc"] is None and "no defect-free images" in result.undefined["image_auroc"]
    )
    assert result.metrics["pixel_auroc"] > 0.9 and result.metrics["pro"] is not None


def test_good_and_bad_folders_give_image_figures_only(tmp_path):
    drawn.draw(tmp_path / "set/good/a.png", None, 0)
    drawn.draw(tmp_path / "set/bad/b.png", tmp_path / "unused.png", 1, contrast=(90, 91))
    result = run(TestImages("set", "part", folder_samples(tmp_path / "set")), tmp_path / "out")
    assert result.metrics["image_auroc"] == 1.0 and result.metrics["pro"] is None
    assert "only image labels" in result.undefined["pixel_auroc"]


def test_a_torn_journal_line_is_not_an_image_and_harms_no_other(tmp_path):
    path = tmp_path / "cup.0.jsonl"
    with Journal(path, "key") as journal:
        journal.append({"key": "one", "v": 1})
    with path.open("ab") as file:
        file.write(b'{"key": "two", "v":')
    with Journal(path, "key") as journal:
        journal.append({"key": "three", "v": 3})
        journal.append({"key": "one", "v": 2})
        assert {key: line["v"] for key, line in journal.lines.items()} == {"one": 2, "three": 3}
    assert [line["v"] for line in read_lines(path, "key")[0]] == [1, 3, 2]


def test_results_of_another_version_are_refused(cup, tmp_path):
    run(cup, tmp_path / "out")
    record = json.loads((tmp_path / "out/run.json").read_text())
    record["tool"]["version"] = "0.0.1"
    (tmp_path / "out/run.json").write_text(json.dumps(record))
    with pytest.raises(SteerAnomalyError, match=r'version: "0\.0\.1" there'):
        run(cup, tmp_path / "out")


@pytest.mark.parametrize("name", ["screws [batch 2]", "a*b", "what?"])
def test_a_category_may_be_called_anything(tmp_path, name):
    images = TestImages(name, "screw", mvtec(drawn.mvtec_category(tmp_path / "data" / name)))
    result = run(images, tmp_path / "out")
    assert (result.good, result.defective) == (2, 4)
    again = FakeInspector()
    (tmp_path / "out/categories").rename(tmp_path / "gone")
    assert run(images, tmp_path / "out", again) == result and again.inspected == []


def test_an_evaluation_that_counted_no_image_is_an_error(cup, tmp_path):
    for sample in cup.samples:
        sample.image.write_bytes(b"not a picture")
    with pytest.raises(
        SteerAnomalyError, match=r"no image was counted \(cup\).*not an image of a known format"
    ):
        run(cup, tmp_path / "out")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_leaves_the_image_out(cup, tmp_path, value):
    class Broken(FakeInspector):
        def _inspect(self, image, object):
            found = super()._inspect(image, object)
            return replace(found, score=value) if among(image, cup.samples[4:]) else found

    result = run(cup, tmp_path / "out", Broken(), calpro_size=32)
    assert len(result.left_out) == 2 and result.protocols["calpro200"]["value"] is not None


def test_the_share_of_each_process_covers_every_image_once(cup, tmp_path):
    done = []
    for rank in range(3):
        inspector = FakeInspector()
        found = inspect_category(inspector, Category(cup, tmp_path / "out"), FakeProcesses(rank, 3))
        done.append(len(inspector.inspected))
    assert done == [2, 2, 2] and set(found.scores) == {s.key for s in cup.samples}


class FakeProcesses(Processes):
    def gather(self, value):
        return [value]


def test_a_full_disk_is_named_and_keeps_what_is_done(cup, tmp_path, monkeypatch):
    real, full = maps.write_whole, f"{cup.samples[3].key}.tiff"

    def write(path, *content):
        if path.as_posix().endswith(full):
            raise OSError(28, "No space left on device")
        return real(path, *content)

    with monkeypatch.context() as patch:
        patch.setattr(maps, "write_whole", write)
        with pytest.raises(
            SteerAnomalyError, match=r"disk is full.*No space left on device.*are done and kept"
        ):
            run(cup, tmp_path / "out")
    again = FakeInspector()
    run(cup, tmp_path / "out", again)
    assert len(again.inspected) == 3  # the first three stayed


def start(*arguments, rank=0, count=1, port=0):
    """The driver in a process of its own, with the variables that torchrun sets."""
    group = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(DRIVER.parents[1])}
    environment |= {name: str(value) for name, value in group.items()}
    return subprocess.Popen([sys.executable, str(DRIVER), *map(str, arguments)], env=environment)


def kept_in(out):
    path = out / "journal/bottle.0.jsonl"
    return len(read_lines(path, "key")[0]) if path.exists() else 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_kill_9_loses_the_batch_in_flight_at_most(tmp_path):
    root, out = tmp_path / "data", tmp_path / "out"
    for name in ("bottle", "cable"):
        drawn.mvtec_category(root / name, each=4)
    process = start(root, out, 0.25, "bottle", "cable")
    deadline = time.monotonic() + 60
    while kept_in(out) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = kept_in(out)
    assert 4 <= kept < 10
    categories = [TestImages(n, n, mvtec(root / n)) for n in ("bottle", "cable")]
    inspector = FakeInspector()
    options = Options(limits=(0.3, 0.05), batch_size=2)
    evaluate(inspector, "mvtec", categories, out, options, ALONE)
    assert len(inspector.inspected) == 20 - kept
    evaluate(FakeInspector(), "mvtec", categories, tmp_path / "whole", options, ALONE)
    for name in ("bottle", "cable"):
        assert figures(out, name) == figures(tmp_path / "whole", name)


@pytest.mark.slow
def test_one_two_and_three_processes_give_the_same_bits(tmp_path):
    drawn.mvtec_category(tmp_path / "data/bottle")
    drawn.mvtec_category(tmp_path / "data/wood", each=3)
    running = []
    for count in (1, 2, 3):
        port, arguments = free_port(), (tmp_path / "data", tmp_path / str(count), 0, "bottle", "wood")
        running += [start(*arguments, rank=rank, count=count, port=port) for rank in range(count)]
    try:
        assert [process.wait(timeout=120) for process in running] == [0] * 6
    finally:
        for process in running:
            process.kill()
            process.wait()
    for name in ("bottle", "wood"):
        one, two, three = (figures(tmp_path / str(n), name) for n in (1, 2, 3))
        assert one == two == three and one["metrics"]["pro"] is not None
    assert len(list((tmp_path / "3/journal").glob("bottle.*"))) == 3


def test_maps_from_elsewhere_are_scored_alike(cup, tmp_path):
    result = run(cup, tmp_path / "out")
    scores = {image.key: ImageScore(image.score) for image in result.images}
    folder = tmp_path / "out/maps"
    again = score_category(cup, lambda s: read_map(map_path(folder, "cup", s.key)), scores, [], ALONE)
    assert again.metrics == result.metrics
