"""Lance beside Parquet: the same rows, a version each chapter, and none twice whatever stops it."""

import shutil

import pytest
from drawn_archive import draw, finish, listed, rows_of

from anomaly.archive import lance_copy
from anomaly.archive.columns import SCHEMA
from anomaly.archive.retrying import reopen
from anomaly.archive.table import ArchiveError

lance = pytest.importorskip("lance")


@pytest.fixture
def finished(tmp_path):
    """A table of three chapters; the last has no error, the first two have one each."""
    draw(tmp_path / "img", 44)
    for name in ("0003.png", "0020.png"):
        (tmp_path / "img" / name).write_bytes(b"no picture")
    place, manifest = listed(tmp_path / "img", tmp_path / "t", chapter=16)
    finish(place, manifest)
    return place, manifest


def dataset(place, kind="images"):
    return lance.dataset(place.full(f"{kind}.lance"))


def same(place):
    """Whether Lance has the rows of Parquet, all of them and each once."""
    for kind in ("images", "errors"):
        found = dataset(place, kind).to_table().to_pylist()
        assert {row["id"]: row for row in found} == rows_of(place.path, kind)
        assert len(found) == len(rows_of(place.path, kind))
    return True


def test_lance_has_the_same_rows_and_columns_and_a_version_each_chapter(finished):
    place, manifest = finished
    told = []
    assert lance_copy.copy(place, manifest, told.append) == {"images": 42, "errors": 2}
    assert same(place) and dataset(place).schema == SCHEMA and sum(told) == 44
    assert [one["version"] for one in dataset(place).versions()] == [1, 2, 3]
    assert dataset(place).checkout_version(1).count_rows() == 15
    lance_copy.copy(place, manifest)
    assert dataset(place).version == 3


def test_a_copy_that_was_stopped_goes_on(finished):
    place, manifest = finished
    file = place.path / "images/chapter-00001/00000.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(ArchiveError, match="damaged"):
        lance_copy.copy(place, manifest)
    assert dataset(place).count_rows() == 15
    file.write_bytes(whole)
    lance_copy.copy(place, manifest)
    assert same(place) and dataset(place).version == 3


def test_what_was_done_again_is_copied_again_as_a_later_version(finished, tmp_path):
    place, manifest = finished
    lance_copy.copy(place, manifest)
    shutil.copyfile(tmp_path / "img" / "0000.png", tmp_path / "img" / "0003.png")
    assert reopen(place, "local") == 2
    finish(place, manifest)
    lance_copy.copy(place, manifest)
    assert same(place) and dataset(place).count_rows() == 43
    assert dataset(place).checkout_version(3).count_rows() == 42
    assert not place.exists(lance_copy.AGAIN)


def test_a_dataset_that_is_of_no_state_of_the_table_is_written_anew(finished):
    place, manifest = finished
    lance_copy.copy(place, manifest)
    dataset(place).delete("score > 0")
    lance_copy.copy(place, manifest)
    assert same(place)
