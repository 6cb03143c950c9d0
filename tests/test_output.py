"""What a result folder holds, and that nothing done is lost: a kill, a torn line, a full disk."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.inspection import Inspection
from anomaly.pictures.encode import to_float_tiff
from anomaly.pictures.images import read_image
from anomaly.pictures.inputs import collect, input_roots, relative_name
from anomaly.pictures.maps import read_map
from anomaly.pictures.overlay import ColorScale, draw_overlay, outlines, shrink
from anomaly.regions import find_regions
from anomaly.report.html import render
from anomaly.runs import journal as result_journal
from anomaly.runs import saving
from anomaly.runs.folder import ResultFolder
from anomaly.runs.saving import OutputError

INFO = {
    "command": "steer-anomaly inspect img",
    "object": "bottle",
    "settings": {"model": "nano", "omega": 1.0},
}


def inspection_of(image: np.ndarray, threshold: float | None = 0.5) -> Inspection:
    """A finding where the picture is bright: a stand-in for a model."""
    heatmap = image[..., 0].astype(np.float32) / 255
    score = float(heatmap.max())
    found = None if threshold is None else score >= threshold
    mask = heatmap >= threshold if found else np.zeros(heatmap.shape, bool)
    regions = find_regions(mask, heatmap)
    return Inspection(score, found, heatmap, mask, regions, threshold, "bottle", "nano", 12.5)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Four images, a bright spot on all but the first; two share a name."""
    for i, name in enumerate(["good/1.png", "good/2.png", "spot/1.png", "spot/Größe 3.png"]):
        image = np.full((20, 30, 3), 40, np.uint8)
        image[5:9, 6 : 9 + i] = 60 * i + 70
        path = tmp_path / "img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "img"


def work(folder: ResultFolder, photos: Path, stop_after: int = 99) -> int:
    """The loop of the command; returns how many images it inspected."""
    paths = folder.pending(collect([str(photos)]))[:stop_after]
    for path in paths:
        image = read_image(path)
        folder.write(relative_name(path, input_roots([str(photos)])), path, image, inspection_of(image))
    return len(paths)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_everything_is_written_and_readable_by_others(photos, tmp_path):
    out = tmp_path / "out"
    with ResultFolder(out, INFO) as folder:
        assert work(folder, photos) == 4
        assert folder.counts() == {
            "defect": 3,
            "ok": 1,
            "unfit": 0,
            "unjudged": 0,
            "failed": 0,
            "unreadable": 0,
        }
    name = "spot/Größe 3"
    expected = inspection_of(read_image(photos / f"{name}.png"))
    for heatmap in (
        tifffile.imread(out / "heatmaps" / f"{name}.tiff"),
        cv2.imdecode(np.fromfile(out / "heatmaps" / f"{name}.tiff", np.uint8), cv2.IMREAD_UNCHANGED),
    ):
        assert heatmap.dtype == np.float32 and np.array_equal(heatmap, expected.heatmap)
    mask = cv2.imdecode(np.fromfile(out / "masks" / f"{name}.png", np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8 and np.array_equal(mask, np.where(expected.mask, 255, 0))
    assert cv2.imdecode(np.fromfile(out / "overlays" / f"{name}.jpg", np.uint8), 1).shape == (20, 30, 3)
    record = {line["name"]: line for line in lines(out)}[name]
    assert record["regions"] == [
        {"area": 24, "box_xyxy": [6, 5, 12, 9], "centroid_xy": [8.5, 6.5], "peak": pytest.approx(250 / 255)}
    ]
    assert (record["width"], record["height"], record["verdict"]) == (30, 20, "defect")
    run = json.loads((out / "run.json").read_text())
    assert run["finished"] and run["images"] == 4 and run["counts"]["defect"] == 3 and run["seconds"] > 0
    assert run["settings"] == INFO["settings"] and run["command"] == INFO["command"]
    assert not list(out.rglob("*.part"))


def test_csv(photos, tmp_path):
    with ResultFolder(tmp_path / "out", INFO) as folder:
        work(folder, photos)
        folder.fail(photos / "lost.png", "no such file")
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "file", "verdict", "score", "threshold", "p_value", "spreads", "regions", "largest_area_px",
        "largest_area_mm2", "largest_size_mm",
        "milliseconds", "object", "model", "error",
    ]  # fmt: skip
    assert [row["verdict"] for row in rows] == ["ok", "defect", "defect", "defect", "unreadable"]
    assert (rows[3]["regions"], rows[3]["largest_area_px"], rows[3]["model"]) == ("1", "24", "nano")
    assert rows[3]["file"].endswith("Größe 3.png")
    assert (rows[4]["score"], rows[4]["error"]) == ("", "no such file")


def test_the_same_command_goes_on_where_it_stopped(photos, tmp_path):
    with pytest.raises(KeyboardInterrupt), ResultFolder(tmp_path / "out", INFO) as folder:
        work(folder, photos, stop_after=3)
        raise KeyboardInterrupt
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert not run["finished"] and run["images"] == 3
    assert (tmp_path / "out" / "report.html").exists() and (tmp_path / "out" / "results.csv").exists()
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert work(folder, photos) == 1
        assert work(folder, photos) == 0
    after = json.loads((tmp_path / "out" / "run.json").read_text())
    assert after["finished"] and after["images"] == 4
    assert after["color_scale"] == run["color_scale"] and after["started"] == run["started"]
    assert len(lines(tmp_path / "out")) == 4


def test_changed_images_lost_files_and_failures_are_done_again(photos, tmp_path):
    paths = collect([str(photos)])
    with ResultFolder(tmp_path / "out", INFO) as folder:
        work(folder, photos)
        folder.fail(paths[2], "permission denied")
    os.utime(paths[0], ns=(1, 1))
    (tmp_path / "out" / "masks" / "good" / "2.png").unlink()
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert folder.pending(paths) == paths[:3]
        work(folder, photos)
    assert [line["verdict"] for line in lines(tmp_path / "out")] == ["ok", "defect", "defect", "defect"]


def test_a_torn_last_line_is_dropped_and_written_again(photos, tmp_path):
    with ResultFolder(tmp_path / "out", INFO) as folder:
        work(folder, photos)
    journal = tmp_path / "out" / "results.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert folder.pending(collect([str(photos)])) == [photos / "spot" / "Größe 3.png"]
        work(folder, photos)
    assert len(lines(tmp_path / "out")) == 4


def test_zeros_in_the_middle_of_the_journal_cost_one_image(photos, tmp_path):
    with ResultFolder(tmp_path / "out", INFO) as folder:
        work(folder, photos)
    journal = tmp_path / "out" / "results.jsonl"
    whole = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([whole[0], b"\0" * 400, *whole[2:]]))
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert work(folder, photos) == 1


KILLED = """
    import os, signal, sys
    sys.path[:0] = {path!r}
    from pathlib import Path
    import test_output
    from anomaly.runs.folder import ResultFolder
    from anomaly.runs.journal import Journal
    folder = ResultFolder({out!r}, test_output.INFO)
    test_output.work(folder, Path({photos!r}), stop_after=2)
    append = Journal.append
    def die_half_way(journal, record):
        journal._file.write(b'{{"path": "half of a li')
        os.kill(os.getpid(), signal.SIGKILL)
    Journal.append = die_half_way
    test_output.work(folder, Path({photos!r}))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_kill_9_in_the_middle_of_a_line(photos, tmp_path):
    out = tmp_path / "out"
    path = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    code = textwrap.dedent(KILLED).format(path=path, out=str(out), photos=str(photos))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not json.loads((out / "run.json").read_text())["finished"]
    with ResultFolder(out, INFO) as folder:
        assert work(folder, photos) == 2
    assert len(lines(out)) == 4


def _full_after(monkeypatch, writes: int) -> None:
    """Let so many files be written, then say the disk is full."""
    real, count = saving.write_whole, iter(range(10**6))

    def write(path, write):
        if next(count) >= writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, write)

    monkeypatch.setattr(saving, "write_whole", write)


def test_a_full_disk_is_said_and_what_was_done_is_kept(photos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _full_after(patch, 15)  # run.json twice, five files for each image
        with (
            pytest.raises(
                OutputError, match=r"disk is full.*2 images are done and kept.*same command"
            ) as caught,
            ResultFolder(tmp_path / "out", INFO) as folder,
        ):
            work(folder, photos)
        assert "1.png" in str(caught.value)
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert work(folder, photos) == 2
    assert len(lines(tmp_path / "out")) == 4


def test_the_journal_takes_a_line_whole_or_not_at_all(tmp_path):
    journal = result_journal.Journal(tmp_path / "results.jsonl", "path")
    journal.append({"path": "/a", "n": 1})

    class Full:
        """A disk that takes ten bytes of each write."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data[:10])

        def __getattr__(self, name):
            return getattr(self.file, name)

    journal._file = Full(journal._file)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        journal.append({"path": "/b", "n": 2})
    assert list(journal.lines) == ["/a"]
    journal.close()
    assert (tmp_path / "results.jsonl").read_text() == '{"path": "/a", "n": 1}\n'


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("not a folder")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(OutputError, match="expected a folder"):
            ResultFolder(out, INFO)
    assert (tmp_path / "out").read_text() == "not a folder"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder(tmp_path, monkeypatch, code):
    def refuse(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=rf"{os.strerror(code)}; nothing was written yet.*another folder"):
        ResultFolder(tmp_path / "out", INFO)


def test_other_settings_need_another_folder_or_overwrite(photos, tmp_path):
    out = tmp_path / "out"
    with ResultFolder(out, INFO) as folder:
        work(folder, photos)
    (out / "notes.txt").write_text("mine")
    other = INFO | {"object": "vial", "settings": {"model": "nano", "omega": 0.6, "device": "cuda"}}
    with pytest.raises(
        OutputError, match=r'object: "bottle" there, "vial" now; omega: 1\.0 there, 0\.6 now.*overwritten'
    ):
        ResultFolder(out, other)
    assert len(lines(out)) == 4  # nothing was touched
    with ResultFolder(out, other, overwrite=True) as folder:
        assert len(folder.pending(collect([str(photos)]))) == 4
    assert lines(out) == [] and not (out / "heatmaps").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_another_device_or_batch_size_may_go_on(photos, tmp_path):
    with ResultFolder(tmp_path / "out", INFO) as folder:
        work(folder, photos)
    info = INFO | {"settings": INFO["settings"] | {"device": "cuda", "batch_size": 64}}
    with ResultFolder(tmp_path / "out", info) as folder:
        assert folder.pending(collect([str(photos)])) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_that_are_not_ours_are_left_alone(tmp_path, overwrite):
    theirs = tmp_path / "data" / "masks" / "1.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"holds masks but no run\.json"):
        ResultFolder(tmp_path / "data", INFO, overwrite)
    assert theirs.read_bytes() == b"precious"
    (tmp_path / "data" / "run.json").write_text('{"tool": "another"}')
    with pytest.raises(OutputError, match="not one"):
        ResultFolder(tmp_path / "data", INFO, overwrite)


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    pytest.importorskip("fcntl")
    with ResultFolder(tmp_path / "out", INFO), pytest.raises(SteerAnomalyError, match="another run"):
        ResultFolder(tmp_path / "out", INFO)
    ResultFolder(tmp_path / "out", INFO).close()


def test_names_never_collide(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    paths = [tmp_path / name for name in ("a.png", "a.jpg", "A.jpg", "a_jpg.png", "ä" * 120 + ".png")]
    with ResultFolder(tmp_path / "out", INFO) as folder:
        for path in paths:
            path.write_bytes(b"x")
            folder.write(relative_name(path, [tmp_path]), path, image, inspection_of(image))
        assert folder.pending(paths) == []
    names = [line["name"] for line in lines(tmp_path / "out")]
    assert names[:4] == ["a", "a_jpg", "A_2", "a_jpg_png"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 5
    assert max(len(os.fsencode(name)) for name in names) <= 200


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_sizes(tmp_path, shape):
    image = np.full((*shape, 3), 255, np.uint8)
    (tmp_path / "a.png").write_bytes(b"x")
    with ResultFolder(tmp_path / "out", INFO) as folder:
        row = folder.write("a", tmp_path / "a.png", image, inspection_of(image))
    assert row.regions[0].area == shape[0] * shape[1]
    assert tifffile.imread(tmp_path / "out" / "heatmaps" / "a.tiff").size == shape[0] * shape[1]


@pytest.mark.parametrize("judged", [True, False, None])
@pytest.mark.parametrize("broken", ["score", "one pixel"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_ok(tmp_path, judged, broken, value):
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[1, 2] = value if broken == "one pixel" else 0
    score = float(value) if broken == "score" else 0.5
    (tmp_path / "a.png").write_bytes(b"x")
    odd = Inspection(score, judged, heatmap, np.zeros((4, 4), bool), (), 0.5, "bottle", "nano")
    with ResultFolder(tmp_path / "out", INFO) as folder:
        row = folder.write("a", tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8), odd)
        assert folder.counts()["failed"] == 1 and folder.counts()["ok"] == 0
        assert folder.pending([tmp_path / "a.png"]) == [tmp_path / "a.png"]  # it is tried again
    assert (row.verdict, row.score) == ("failed", None) and "not finite" in row.error
    assert not (tmp_path / "out" / "heatmaps").exists()
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text())["verdict"] == "failed"
    assert "could not be judged" in (tmp_path / "out" / "report.html").read_text()


def test_a_broken_template_is_not_the_disks_fault_and_what_was_done_is_kept(photos, tmp_path, monkeypatch):
    def missing(template, **_):
        raise SteerAnomalyError(f"{template}: install again")

    with monkeypatch.context() as patch:
        patch.setattr("anomaly.report.page.render", missing)
        with (
            pytest.raises(SteerAnomalyError, match="install again") as caught,
            ResultFolder(tmp_path / "out", INFO) as folder,
        ):
            work(folder, photos)
        assert not isinstance(caught.value, OutputError)
    with ResultFolder(tmp_path / "out", INFO) as folder:
        assert work(folder, photos) == 0
    assert (tmp_path / "out" / "report.html").exists()


def test_a_missing_template_says_to_install_again():
    with pytest.raises(
        SteerAnomalyError, match=r"nothing\.html.*TemplateNotFound.*install steer-anomaly again"
    ):
        render("nothing.html")


def test_a_report_that_cannot_be_written_counts_what_is_kept(photos, tmp_path, monkeypatch):
    def refuse(path, write):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    folder = ResultFolder(tmp_path / "out", INFO)
    work(folder, photos)
    monkeypatch.setattr(saving, "write_whole", refuse)
    with pytest.raises(OutputError, match="4 images are done and kept"):
        folder.close()


@pytest.mark.parametrize(("save", "kept"), [("all", 4), ("defects", 3), ("none", 0)])
def test_of_which_images_files_are_kept(photos, tmp_path, save, kept):
    with ResultFolder(tmp_path / "out", INFO, save=save) as folder:
        work(folder, photos)
        assert folder.pending(collect([str(photos)])) == []
    for name in ("heatmaps", "masks", "overlays"):
        assert sum(path.is_file() for path in (tmp_path / "out" / name).rglob("*")) == kept
    with ResultFolder(tmp_path / "out", INFO, save="all") as folder:  # now they are wanted, and not there
        assert len(folder.pending(collect([str(photos)]))) == 4 - kept
    with pytest.raises(OutputError, match="all, defects, none"):
        ResultFolder(tmp_path / "out", INFO, save="some")


def test_heatmaps_are_compressed_without_loss_and_read_by_pillow_too(tmp_path):
    patches = np.random.default_rng(0).random((20, 30), np.float32)
    heatmap = cv2.resize(patches, (300, 200), interpolation=cv2.INTER_LINEAR)  # as ours are made
    (tmp_path / "a.tiff").write_bytes(to_float_tiff(heatmap))
    assert (tmp_path / "a.tiff").stat().st_size < 0.8 * heatmap.nbytes
    for read in (tifffile.imread, lambda p: cv2.imread(str(p), -1), lambda p: np.asarray(Image.open(p))):
        found = read(tmp_path / "a.tiff")
        assert found.dtype == np.float32 and np.array_equal(found, heatmap)


def test_color_scale_puts_the_threshold_in_the_middle():
    heatmap = np.linspace(-3, -1, 101, dtype=np.float32).reshape(1, -1)
    scale = ColorScale.from_heatmap(heatmap, threshold=1.0)
    assert (scale.low, scale.threshold, scale.high) == pytest.approx((-2, 1, 4))
    assert scale.levels(np.array([-9.0, -2.0, 1.0, 4.0, 9.0])).tolist() == [0, 0, 128, 255, 255]
    capped = ColorScale.from_heatmap(np.full((4, 4), 0.1, np.float32), threshold=0.8)
    assert capped.high == 1.0
    free = ColorScale.from_heatmap(np.zeros((4, 4), np.float32), threshold=None)
    assert free.low < free.threshold < free.high


def test_overlay_leaves_background_and_marks_even_one_pixel():
    image = np.full((400, 4000, 3), 100, np.uint8)
    heatmap = np.zeros((400, 4000), np.float32)
    heatmap[200, 2000] = 1
    mask = heatmap > 0.5
    boxes = [region.box_xyxy for region in find_regions(mask, heatmap)]
    drawn = draw_overlay(image, heatmap, ColorScale(0.0, 0.5, 1.0), outlines(mask), boxes)
    assert drawn.shape == (160, 1600, 3)
    assert (drawn[:, :700] == 100).all()
    ring = drawn[60:100, 780:820]
    assert ((ring[..., 1] > 200) & (ring[..., 0] < 60)).sum() > 20
    assert shrink(image, 5000) is image


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (5, 7), (300, 1200)])
@pytest.mark.parametrize("fast", [True, False])
def test_every_bit_of_a_heatmap_comes_back(tmp_path, monkeypatch, shape, fast):
    import zlib

    if not fast:  # where there is no fast deflate
        monkeypatch.setattr("anomaly.pictures.encode.deflate", zlib)
    bits = np.random.default_rng(0).integers(0, 2**32, shape, np.uint64).astype(np.uint32)
    heatmap = np.where(np.isfinite(bits.view(np.float32)), bits.view(np.float32), np.float32(-0.0))
    (tmp_path / "a.tiff").write_bytes(to_float_tiff(heatmap))
    for read in (
        read_map,
        tifffile.imread,
        lambda p: cv2.imread(str(p), -1),
        lambda p: np.asarray(Image.open(p)),
    ):
        found = read(tmp_path / "a.tiff")
        assert found.dtype == np.float32 and found.reshape(shape).tobytes() == heatmap.tobytes()
