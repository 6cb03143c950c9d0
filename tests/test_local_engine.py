"""The local engine: every image one row, however many work and whatever dies."""

import subprocess
import sys

import drawn_archive
import numpy as np
import pyarrow.dataset
import pytest
from drawn_archive import deadly, draw, examiner, listed, on_a_full_disk, rows_of, slow_driver, wait_for
from PIL import Image

from anomaly.archive import local_engine, table
from anomaly.archive.archiving import opened
from anomaly.archive.columns import SCHEMA, SIDE, table_of, thumbnail, to_image_row
from anomaly.archive.local_engine import TooManyErrors, run
from anomaly.archive.manifest import listed as manifest_at
from anomaly.archive.places import Place
from anomaly.archive.table import ArchiveError, close
from anomaly.errors import SteerAnomalyError
from anomaly.runs.saving import OutputError

INFO = {"object": "plate", "settings": {"threshold": 100.0}}


def made(tmp_path, name="t", workers=1, count=40, make=examiner, **how):
    if not (tmp_path / "img").exists():
        draw(tmp_path / "img", count)
        (tmp_path / "img" / "broken.png").write_bytes(b"no picture")
    place, manifest = listed(tmp_path / "img", tmp_path / name)
    return place, run(place, manifest, make, workers, **how)


def test_a_thumbnail_keeps_means_and_what_half_precision_cannot_hold_is_cut_off():
    heatmap = np.repeat(np.repeat(np.arange(64 * 64, dtype=np.float32).reshape(64, 64), 3, 0), 5, 1)
    assert np.allclose(thumbnail(heatmap), np.arange(4096), rtol=1e-3)
    assert thumbnail(np.full((3, 5), 1e9, np.float32)).max() == np.finfo(np.float16).max
    assert thumbnail(np.zeros((1, 1), np.float32)).shape == (SIDE * SIDE,)


@pytest.mark.slow
def test_the_table_is_the_same_for_any_number_of_workers(tmp_path):
    tables = []
    for workers in (1, 2, 4):
        _, counts = made(tmp_path, f"t{workers}", workers)
        assert counts["unreadable"] == 1 and sum(counts.values()) == 41
        found = pyarrow.dataset.dataset(tmp_path / f"t{workers}" / "images").to_table()
        assert found.schema == SCHEMA
        tables.append(found.sort_by("id").drop_columns(["milliseconds"]))
    assert tables[0] == tables[1] == tables[2]
    (error,) = rows_of(tmp_path / "t4", "errors").values()
    assert error["verdict"] == "unreadable" and "not an image" in error["error"] and error["score"] is None


def test_a_row_says_what_the_inspection_said(tmp_path):
    paths = draw(tmp_path, 1)
    (entry,) = listed_entries(tmp_path)
    row = examiner().row(entry)
    found = examiner().inspector.inspect_batch([np.asarray(Image.open(paths[0]))], "plate")[0]
    assert (row["score"], row["verdict"], row["threshold"]) == (found.score, found.verdict, 100.0)
    assert (row["width"], row["height"], row["object"], row["model"]) == (14, 12, "plate", "fake")
    back = table_of([row, examiner().failure(entry, local_engine.KILLED)]).to_pylist()
    assert np.array_equal(np.array(back[0]["heatmap"], np.float16), thumbnail(found.heatmap))
    assert back[1]["heatmap"] is None and back[1]["regions"] is None
    assert to_image_row(back[0], "x").score == found.score


def listed_entries(folder):
    from anomaly.archive.entries import entries_of

    return list(entries_of([str(folder)]))


@pytest.mark.slow
def test_what_is_committed_is_not_done_again(tmp_path):
    place, _ = made(tmp_path)
    first, *_ = place.files("images/chapter-00000")
    before = (place.path / "images/chapter-00000" / first).stat().st_mtime_ns
    place.remove("images/chapter-00000/00001.parquet")
    place.remove("_done")
    (place.path / "images/chapter-00000/.half.part").write_bytes(b"torn")
    made(tmp_path)
    assert (place.path / "images/chapter-00000" / first).stat().st_mtime_ns == before
    assert len(rows_of(place.path)) == 40 and not (place.path / "images/chapter-00000/.half.part").exists()


@pytest.mark.slow
def test_a_driver_that_is_killed_loses_nothing_and_does_nothing_twice(tmp_path):
    draw(tmp_path / "img", 160)
    out = tmp_path / "t"
    command = [sys.executable, drawn_archive.__file__, str(tmp_path / "img"), str(out), "0.01"]
    for files in (1, 4, 7):
        with subprocess.Popen(command) as driver:
            wait_for(lambda files=files: len(Place(str(out)).files("images/chapter-00000")) >= files, 60)
            driver.kill()
    slow_driver(str(tmp_path / "img"), str(out), 0)
    assert len(rows_of(out)) == 160 and Place(str(out)).read_json("_run.json")["finished"]


@pytest.mark.slow
def test_a_picture_that_ends_its_worker_becomes_an_error(tmp_path):
    draw(tmp_path / "img", 20)
    Image.fromarray(np.zeros((9, 99, 3), np.uint8)).save(tmp_path / "img" / "0007b.png")
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    counts = run(place, manifest, deadly, 2)
    assert counts["failed"] == 1 and sum(counts.values()) == 21
    (error,) = rows_of(tmp_path / "t", "errors").values()
    assert error["path"].endswith("0007b.png") and "ended each time" in error["error"]


@pytest.mark.slow
def test_more_errors_than_allowed_stop_the_run(tmp_path):
    draw(tmp_path / "img", 20)
    for number in range(30):
        (tmp_path / "img" / f"a{number}.png").write_bytes(b"")
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    with pytest.raises(TooManyErrors, match="more than --max-errors"):
        run(place, manifest, examiner, 1, most_errors=3)
    assert not place.exists("_done")
    assert run(place, manifest, examiner, 1, most_errors=30)["unreadable"] == 30
    with pytest.raises(TooManyErrors):
        run(place, manifest, examiner, 1, most_errors=29)


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_whole_files(tmp_path):
    draw(tmp_path / "img", 40)
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    rows = [examiner().row(entry) for entry in listed_entries(tmp_path / "img")[:16]]
    table.commit(place, manifest.shards(0)[0], rows)
    with pytest.raises(OutputError, match="the disk is full"):
        run(place, manifest, on_a_full_disk, 1)
    assert len(rows_of(place.path)) == 16


def test_a_chapter_with_rows_missing_or_twice_is_not_closed(tmp_path):
    draw(tmp_path / "img", 20)
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    rows = [examiner().row(entry) for entry in listed_entries(tmp_path / "img")]
    table.commit(place, manifest.shards(0)[0], rows[:16])
    with pytest.raises(ArchiveError, match="got 16 rows of 16"):
        close(place, 0)
    table.commit(place, manifest.shards(0)[1], [*rows[16:19], rows[0]])
    with pytest.raises(ArchiveError, match="got 20 rows of 19"):
        close(place, 0)
    table.commit(place, manifest.shards(0)[1], rows[16:])
    assert sum(close(place, 0).values()) == 20


def test_another_run_is_refused(tmp_path):
    draw(tmp_path / "img", 2)
    place, inputs = Place(str(tmp_path / "t")), (str(tmp_path / "img"),)
    with opened(place, inputs, None, INFO, "local") as archive:
        assert archive.manifest.images == 2
    with opened(place, inputs, None, INFO, "local") as archive:
        assert archive.run["resumed"]
    for info, engine, what in [
        (INFO | {"object": "nut"}, "local", "object"),
        (INFO | {"settings": {"threshold": 2}}, "local", "threshold"),
        (INFO, "ray", "engine"),
    ]:
        with pytest.raises(OutputError, match=what), opened(place, inputs, None, info, engine):
            pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    other = Place(str(tmp_path / "other"))
    with pytest.raises(OutputError, match="something at"), opened(other, inputs, None, INFO, "local"):
        pass


def test_a_run_that_listed_nothing_binds_nobody(tmp_path):
    draw(tmp_path / "img", 2)
    place = Place(str(tmp_path / "t"))
    with pytest.raises(SteerAnomalyError, match="typo"), opened(place, ("typo",), None, INFO, "local"):
        pass
    inputs = (str(tmp_path / "img"),)
    with opened(place, inputs, None, INFO | {"object": "nut"}, "local") as archive:
        assert archive.manifest.images == 2
    table.commit(place, archive.manifest.shards(0)[0], [])
    place.remove("_manifest")
    with (
        pytest.raises(ArchiveError, match="rows without"),
        opened(place, inputs, None, INFO | {"object": "nut"}, "local"),
    ):
        pass


def test_a_second_run_is_told_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("anomaly.archive.archiving.PATIENCE", 0.1)
    draw(tmp_path / "img", 1)
    place, inputs = Place(str(tmp_path / "t")), (str(tmp_path / "img"),)
    with (
        opened(place, inputs, None, INFO, "local"),
        pytest.raises(OutputError, match="another run"),
        opened(place, inputs, None, INFO, "local"),
    ):
        pass


@pytest.mark.slow
def test_a_table_goes_on_where_it_was_moved_to(tmp_path):
    place, _ = made(tmp_path)
    place.remove("_done")
    place.remove("images/chapter-00000/00001.parquet")
    place.path.rename(tmp_path / "moved")
    moved = Place(str(tmp_path / "moved"))
    assert sum(run(moved, manifest_at(moved), examiner, 1).values()) == 41


def test_errors_of_a_shard_that_was_not_committed_do_not_count(tmp_path):
    draw(tmp_path / "img", 2)
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    (shard,) = manifest.shards(0)
    bad = [examiner().failure(entry, local_engine.KILLED) for entry in listed_entries(tmp_path / "img")]
    table.commit(place, shard, bad)
    assert table.errors_in(place, 0, {shard.name}) == 2
    assert table.errors_in(place, 0, set()) == 0
