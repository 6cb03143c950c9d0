"""Files that arrive: whole ones only, in order, once."""

import time

import pytest

from anomaly.line.arrivals import Arrivals, Events

SETTLE = 0.2


def arrivals_of(folder, known=lambda path, stamp: False, skip=()):
    return Arrivals(folder, known, skip, SETTLE)


def names(found):
    return [one.path.name for one in found]


def test_a_file_is_handed_out_once_when_it_stands_still(tmp_path):
    arrivals = arrivals_of(tmp_path)
    file = tmp_path / "a.png"
    file.write_bytes(b"half")
    arrivals.look()
    assert arrivals.ready() == [] and arrivals.waiting == 1
    time.sleep(SETTLE)
    file.write_bytes(b"the whole")  # it went on
    assert arrivals.ready() == []
    time.sleep(SETTLE)
    (found,) = arrivals.ready()
    assert found.path == file and found.stamp == (9, file.stat().st_mtime_ns)
    assert arrivals.ready() == [] and arrivals.waiting == 0


def test_the_oldest_comes_first_and_what_is_no_picture_never(tmp_path):
    import os

    for number, name in enumerate(["c.png", "a.jpg", "sub/b.tif", "notes.txt", ".hidden.png", ".tmp/d.png"]):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        os.utime(file, (1000 + number, 1000 + number))
    arrivals = arrivals_of(tmp_path)
    arrivals.look()
    time.sleep(SETTLE)
    assert names(arrivals.ready()) == ["c.png", "a.jpg", "b.tif"]


def test_what_is_known_or_skipped_or_gone_is_not_handed_out(tmp_path):
    for name in ("known.png", "out/overlay.png", "gone.png", "new.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    arrivals = arrivals_of(tmp_path, lambda path, stamp: path.name == "known.png", [tmp_path / "out"])
    arrivals.look()
    arrivals.look(tmp_path / "out" / "overlay.png")
    arrivals.look(tmp_path / "nothing.png")
    (tmp_path / "gone.png").unlink()
    time.sleep(SETTLE)
    assert names(arrivals.ready()) == ["new.png"]


def test_one_that_could_not_be_read_keeps_the_time_it_has_waited(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    arrivals = arrivals_of(tmp_path)
    arrivals.look()
    time.sleep(SETTLE)
    (found,) = arrivals.ready()
    arrivals.again(found)
    assert arrivals.ready() == [found]


def test_events_name_files_written_and_moved_in(tmp_path):
    pytest.importorskip("watchfiles")
    inbox = tmp_path / "in"
    inbox.mkdir()
    events = Events(inbox)
    try:
        time.sleep(0.2)
        (tmp_path / "moved.png").write_bytes(b"x")
        (tmp_path / "moved.png").rename(inbox / "moved.png")
        (inbox / "written.png").write_bytes(b"x")
        found, until = set(), time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < until:
            found |= {path.name for path in events.wait(0.1)}
        assert found - {"in"} == {"moved.png", "written.png"}
    finally:
        events.close()
    assert not events.alive


@pytest.mark.slow
@pytest.mark.parametrize("renamed", [True, False])
def test_a_folder_that_was_taken_away_and_came_back_is_listened_to_again(tmp_path, monkeypatch, renamed):
    pytest.importorskip("watchfiles")
    monkeypatch.setattr("anomaly.line.arrivals.LISTEN_AGAIN", 0.05)
    monkeypatch.setattr("anomaly.line.arrivals.LOST_AFTER_MS", 50)
    inbox = tmp_path / "in"
    inbox.mkdir()
    events = Events(inbox)
    try:
        wait(lambda: events.alive)
        if renamed:
            inbox.rename(tmp_path / "gone")
        else:
            inbox.rmdir()
        wait(lambda: not events.alive)  # whoever asks looks by themselves meanwhile
        events.wait(0.1)
        inbox.mkdir()
        (inbox / "early.png").write_bytes(b"x")
        wait(lambda: events.alive)
        assert inbox in events.wait(2)  # what came before we listened
        (inbox / "late.png").write_bytes(b"x")
        wait(lambda: inbox / "late.png" in events.wait(0.1))
    finally:
        events.close()


def wait(done, seconds=20):
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)
