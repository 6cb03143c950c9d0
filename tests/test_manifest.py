"""What an archive's inputs hold, listed once: every kind of input, ids, chapters and shards."""

import csv
import hashlib
import io
import os
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from drawn_archive import draw, listed
from pyarrow import parquet

from anomaly.archive.entries import entries_of, may_repeat
from anomaly.archive.entry import Entry
from anomaly.archive.manifest import listed as manifest_at
from anomaly.archive.manifest import read_all, read_shard, shard_rows, write_manifest
from anomaly.archive.places import Place, patiently
from anomaly.archive.reading import read_picture
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import read_image


def paths(*inputs, **how):
    return [entry.path for entry in entries_of(map(str, inputs), **how)]


def test_a_folder_gives_its_images_with_size_version_and_time(tmp_path):
    (path,) = draw(tmp_path / "a", 1)
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    (entry,) = entries_of([str(tmp_path)])
    size = path.stat().st_size
    assert entry == Entry(str(path), f"{size}-1700000000123456789", size, entry.taken)
    assert entry.taken == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    by_hand = hashlib.sha256(f"{path}\0{size}-1700000000123456789".encode()).hexdigest()
    assert entry.id == by_hand[:32]


def test_an_image_that_changed_is_another_one(tmp_path):
    (path,) = draw(tmp_path, 1)
    before = next(entries_of([str(path)])).id
    os.utime(path, ns=(0, 7))
    assert next(entries_of([str(path)])).id != before


def test_globs_lists_and_several_inputs(tmp_path):
    one, two, three = draw(tmp_path / "a", 3)
    (tmp_path / "some.txt").write_text("a/0002.png\n")
    assert paths(tmp_path / "a" / "*1.png", tmp_path / "some.txt") == [str(two), str(three)]
    assert may_repeat(["x.csv"]) and may_repeat(["a", "b"]) and not may_repeat(["a"])
    assert str(one) in paths(tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_paths_with_times(tmp_path, suffix):
    drawn = draw(tmp_path / "img", 2)
    rows = [{"image": "img/0000.png", "taken": "2026-03-01T08:00:00"}, {"image": str(drawn[1]), "taken": ""}]
    table = tmp_path / f"list{suffix}"
    if suffix == ".csv":
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["image", "taken"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        parquet.write_table(pa.Table.from_pylist([rows[0], rows[1] | {"taken": None}]), table)
    first, second = entries_of([str(table)])
    assert (first.path, second.path) == tuple(map(str, drawn))
    assert first.taken == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert abs(second.taken.timestamp() - drawn[1].stat().st_mtime) < 1e-5
    with pytest.raises(SteerAnomalyError, match="--column"):
        paths(table, column="nope")


def test_what_a_table_says_of_version_and_size_is_believed(tmp_path):
    table = tmp_path / "list.parquet"
    parquet.write_table(pa.table({"path": ["s3://b/k.jpg"], "etag": ["abc"], "size": [7]}), table)
    assert list(entries_of([str(table)])) == [Entry("s3://b/k.jpg", "abc", 7, None)]


def test_an_image_that_is_not_there_is_listed_and_told_when_read(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("path\ngone.png\n")
    (entry,) = entries_of([str(table)])
    assert entry.version == "missing"
    with pytest.raises(SteerAnomalyError, match="no such file"):
        read_picture(entry)


def test_images_in_tars_are_read_where_they_lie(tmp_path):
    drawn = draw(tmp_path / "img", 2)
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        tar.add(drawn[0], "x/a.png")
        tar.addfile(tarfile.TarInfo("x/a.json"), io.BytesIO())
        tar.add(drawn[1], "x/b.png")
    found = list(entries_of([str(tmp_path / "shard-*.tar")]))
    assert [one.path for one in found] == [f"tar://x/{n}.png::{tmp_path / 'shard-0.tar'}" for n in "ab"]
    for entry, path in zip(found, drawn, strict=True):
        assert (read_picture(entry).image == read_image(path)).all()
        from_table = replace(entry, offset=None)  # a row of the table does not say where
        assert (read_picture(from_table).image == read_image(path)).all()
    gone = replace(found[0], path=f"tar://x/c.png::{tmp_path / 'shard-0.tar'}", offset=None)
    with pytest.raises(SteerAnomalyError, match="no such file"):
        read_picture(gone)
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(SteerAnomalyError, match="cannot be read as one"):
        paths(tmp_path / "bad.tar")
    with pytest.raises(SteerAnomalyError, match="plain tar"):
        paths(tmp_path / "bad.tar.gz")


def tar_of(path, *members):
    """A tar of (name, bytes, changes of its header)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data, *changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in dict(*changes).items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_a_tar_that_was_changed_is_not_read_where_it_was_listed(tmp_path):
    one, two = (path.read_bytes() for path in draw(tmp_path / "img", 2))
    listed_then = list(entries_of([tar_of(tmp_path / "s.tar", ("a.png", one), ("b.png", two))]))
    tar_of(tmp_path / "s.tar", ("c.png", two), ("a.png", one))
    with pytest.raises(SteerAnomalyError, match="changed after it was listed"):
        read_picture(listed_then[0])


def test_a_member_that_is_there_twice_is_listed_once_and_the_last_counts(tmp_path):
    drawn = draw(tmp_path / "img", 2)
    tar = tar_of(tmp_path / "s.tar", *(("a.png", path.read_bytes()) for path in drawn))
    (entry,) = entries_of([tar])
    assert (read_picture(entry).image == read_image(drawn[1])).all()


def test_a_tar_that_is_damaged_in_its_middle_is_no_shorter_tar(tmp_path):
    data = draw(tmp_path / "img", 1)[0].read_bytes()
    tar = Path(tar_of(tmp_path / "s.tar", ("a.png", data), ("b.png", data), ("c.png", data)))
    whole, second = tar.read_bytes(), list(entries_of([str(tar)]))[1].offset - 512
    tar.write_bytes(whole[:second] + b"\xff" * 100 + whole[second + 100 :])
    with pytest.raises(SteerAnomalyError, match=f"begins at byte {second}"):
        paths(tar)
    tar.write_bytes(whole[: second + 600])
    with pytest.raises(SteerAnomalyError, match="cannot be read as one"):
        paths(tar)
    tar.write_bytes(whole[:second])  # without the zeros at its end, which many leave out
    assert len(paths(tar)) == 1


def test_odd_names_and_times_in_a_tar(tmp_path):
    data = draw(tmp_path / "img", 1)[0].read_bytes()
    tar = tar_of(tmp_path / "s.tar", ("x::y.png", data), ("caf\udce9.png", data, {"mtime": 10**14}))
    found = list(entries_of([tar]))
    assert [len(read_picture(one).image) for one in found] == [12, 12]
    write_manifest(Place(str(tmp_path / "t")), found, (tar,), True)
    assert found[1].path == f"tar://caf\\udce9.png::{tar}" and found[1].taken.year > 2000
    assert len(read_picture(replace(found[0], offset=None)).image) == 12


def rows_in(tmp_path, **columns):
    parquet.write_table(pa.table(columns), tmp_path / "list.parquet")
    return list(entries_of([str(tmp_path / "list.parquet")]))


def test_an_s3_inventory_is_a_table_of_paths(tmp_path):
    found = rows_in(
        tmp_path,
        bucket=["b"] * 4,
        key=["2026/k 1.jpg", "2026/old.jpg", "2026/gone.jpg", "notes.txt"],
        is_latest=[True, False, True, True],
        is_delete_marker=[False, False, True, False],
        size=[7, 7, None, 7],
        last_modified_date=[1_772_352_000_000] * 4,
        e_tag=["abc"] * 4,
    )
    assert found == [Entry("s3://b/2026/k 1.jpg", "abc", 7, datetime(2026, 3, 1, 8, tzinfo=UTC))]


def test_odd_values_in_a_table(tmp_path):
    (one,) = rows_in(tmp_path, path=["a.png"], time=[1_772_352_000.0], etag=["x"], size=["12 kB"])
    assert (one.taken, one.size) == (datetime(2026, 3, 1, 8, tzinfo=UTC), None)
    (one,) = rows_in(tmp_path, path=["a.png"], time=[float("nan")], etag=["x"])
    assert one.taken is None
    (one,) = rows_in(tmp_path, path=["a\0.png"])
    with pytest.raises(SteerAnomalyError, match="no file can have"):
        read_picture(one)
    (one,) = rows_in(tmp_path, path=["/".join(["d" * 200] * 30) + ".png"])
    with pytest.raises(SteerAnomalyError, match="too long"):
        read_picture(one)
    with pytest.raises(SteerAnomalyError, match="got 1e\\+18"):
        rows_in(tmp_path, path=["a.png"], time=[1e18])
    with pytest.raises(SteerAnomalyError, match="row 2 has none"):
        rows_in(tmp_path, path=["a.png", None])


def test_numbers_in_a_csv_stay_as_they_are_written(tmp_path):
    rows = "".join(f"{n:07}.png,{n:03}\n" for n in range(60_000))
    (tmp_path / "list.csv").write_text(f"path,etag\n{rows}x.png,abc\n")
    versions = [entry.version for entry in entries_of([str(tmp_path / "list.csv")])]
    assert versions[7] == "007" and versions[-1] == "abc"


def test_links_that_go_round_or_nowhere(tmp_path):
    draw(tmp_path / "img", 1)
    for name, target in [("loop", tmp_path / "img"), ("me.png", tmp_path / "img/me.png"), ("no.png", "/no")]:
        (tmp_path / "img" / name).symlink_to(target)
    found = list(entries_of([str(tmp_path / "img")]))
    assert [Path(one.path).name for one in found] == ["0000.png", "me.png", "no.png"]
    for one in found[1:]:
        with pytest.raises(SteerAnomalyError):
            read_picture(one)


def test_the_same_images_through_two_globs(tmp_path):
    draw(tmp_path / "img", 3)
    inputs = (str(tmp_path / "img" / "*.png"), str(tmp_path / "img" / "000[12].png"))
    manifest = write_manifest(Place(str(tmp_path / "t")), entries_of(inputs), inputs, not may_repeat(inputs))
    assert (manifest.images, manifest.repeated) == (3, 2)


@pytest.mark.slow  # it imports torch's data loaders
def test_shards_of_webdataset_are_such_tars(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    (path,) = draw(tmp_path / "img", 1)
    with webdataset.TarWriter(str(tmp_path / "s.tar")) as writer:
        writer.write({"__key__": "part7", "png": path.read_bytes(), "cls": b"3"})
    (entry,) = entries_of([str(tmp_path / "s.tar")])
    assert entry.path.startswith("tar://part7.png::")
    assert (read_picture(entry).image == read_image(path)).all()


def test_the_list_is_cut_into_chapters_and_shards_and_comes_back(tmp_path):
    draw(tmp_path / "img", 40)
    place, manifest = listed(tmp_path / "img", tmp_path / "table", chapter=36)
    assert (manifest.images, manifest.chapters, manifest.shard) == (40, (36, 4), 16)
    assert [len(shard) for shard in manifest.shards(0)] == [16, 16, 4]
    assert list(read_all(place, manifest)) == list(entries_of([str(tmp_path / "img")]))
    assert read_shard(place, manifest.shards(1)[0])[0].path.endswith("0036.png")
    assert manifest_at(place) == manifest


def test_shards_hang_on_the_number_of_images_alone():
    assert [shard_rows(n) for n in (1, 1024, 1025, 60_000, 10**8)] == [16, 16, 32, 1024, 1024]


def test_an_image_that_is_named_twice_is_there_once(tmp_path):
    (path,) = draw(tmp_path, 1)
    (tmp_path / "list.csv").write_text(f"path\n{path}\n{path}\n")
    inputs = (str(tmp_path / "list.csv"),)
    manifest = write_manifest(Place(str(tmp_path / "t")), entries_of(inputs), inputs, not may_repeat(inputs))
    assert (manifest.images, manifest.repeated) == (1, 1)


def test_no_image_is_an_error(tmp_path):
    (tmp_path / "empty.csv").write_text("path\n")
    with pytest.raises(SteerAnomalyError, match="found none"):
        write_manifest(
            Place(str(tmp_path / "t")), entries_of([str(tmp_path / "empty.csv")]), ("empty.csv",), True
        )


def test_a_missing_driver_is_named(monkeypatch):
    import fsspec

    def absent(*_, **__):
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(SteerAnomalyError, match=r"steer-anomaly\[gcs\]"):
        paths("gs://bucket/folder")


def test_a_busy_store_is_asked_again_and_a_missing_file_is_not(monkeypatch):
    from anomaly.archive import places

    monkeypatch.setattr(places.time, "sleep", lambda seconds: None)
    asked = []

    def busy():
        asked.append(1)
        if len(asked) < 3:
            raise RuntimeError("SlowDown")
        return 7

    assert patiently(busy) == 7 and len(asked) == 3
    with pytest.raises(FileNotFoundError):
        patiently(Path("/nowhere/at/all").read_bytes)
    with pytest.raises(OSError, match="SlowDown"):
        patiently(lambda: (_ for _ in ()).throw(RuntimeError("SlowDown")), tries=2)
