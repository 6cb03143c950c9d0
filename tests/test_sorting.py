"""Moves that never lie over another file."""

import pytest

from anomaly.line import sorting
from anomaly.line.sorting import Sorter, rename_new


@pytest.fixture(params=[True, False], ids=["renameat2", "without"])
def either_way(request, monkeypatch):
    """With the call of Linux, and as on systems that do not have it."""
    if not request.param:
        monkeypatch.setattr(sorting, "_renamed_by_linux", lambda source, target: False)


def test_a_rename_moves_and_never_overwrites(tmp_path, either_way):
    one, two, new = tmp_path / "one", tmp_path / "two", tmp_path / "new"
    one.write_text("1")
    two.write_text("2")
    with pytest.raises(FileExistsError):
        rename_new(one, two)
    assert (one.read_text(), two.read_text()) == ("1", "2")
    rename_new(one, new)
    assert new.read_text() == "1" and not one.exists()
    with pytest.raises(FileNotFoundError):
        rename_new(one, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "verdict, folder",
    [("ok", "ok"), ("defect", "defect"), ("unfit", "unfit"), ("unreadable", "unfit"), ("unjudged", "unfit")],
)
def test_what_was_not_judged_never_goes_to_ok(tmp_path, verdict, folder):
    place = Sorter(tmp_path).place(tmp_path / "sub" / "a.png", verdict, lambda place: False)
    assert place == tmp_path / folder / "sub" / "a.png"


def test_a_place_is_free_on_disk_in_the_journal_and_in_what_is_under_way(tmp_path):
    sorter = Sorter(tmp_path)
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok" / "a.png").write_bytes(b"on disk")
    taken = {tmp_path / "ok" / "a-2.png"}
    places = [sorter.place(tmp_path / "a.png", "ok", taken.__contains__).name for _ in range(2)]
    assert places == ["a-3.png", "a-4.png"]


def test_a_move_onto_another_file_is_refused_and_one_cut_short_is_finished(tmp_path, either_way):
    sorter, file = Sorter(tmp_path), tmp_path / "a.png"
    file.write_bytes(b"picture")
    place = sorter.place(file, "ok", lambda place: False)
    place.parent.mkdir()
    place.write_bytes(b"somebody else's")
    with pytest.raises(FileExistsError):
        sorter.move(file, place)
    assert place.read_bytes() == b"somebody else's" and file.exists()
    place.write_bytes(b"")  # what holds the name when a move without renameat2 is cut short
    sorter.move(file, place)
    assert place.read_bytes() == b"picture" and not file.exists()
