"""A station: one row, one message and one place per picture, whatever happens in between."""

import time

import cv2
import numpy as np
import pytest
from fake_inspector import FakeInspector

from anomaly.line.arrivals import Arrival, Arrivals
from anomaly.line.messages import id_of, verdict_of
from anomaly.line.sorting import Sorter
from anomaly.line.station import Station
from anomaly.line.watching import watch_folder
from anomaly.runs.folder import ResultFolder
from anomaly.runs.rows import ImageRow
from anomaly.runs.stamps import stamp_of


class Inspector(FakeInspector):
    """On no device, so that no torch is loaded."""

    def describe(self):
        return {"settings_hash": "abc", "threshold": self.threshold}


class Told:
    """A sink that remembers."""

    def __init__(self):
        self.messages = []

    def send(self, verdict):
        self.messages.append(verdict)


def picture(path, spot=0, side=48):
    image = np.full((side, side, 3), 90, np.uint8)
    image[10:20, 10:20] += spot
    path.parent.mkdir(exist_ok=True, parents=True)
    cv2.imwrite(str(path), image)
    return path


def arrival(path):
    return Arrival(path, stamp_of(path), time.monotonic())


@pytest.fixture
def line(tmp_path):
    """Opens a station on `in/` with results in `out/`, as often as wanted."""
    opened = []
    inbox = tmp_path / "in"
    inbox.mkdir()

    def open_(**more):
        if opened:
            opened.pop().close()
        folder = ResultFolder(tmp_path / "out", {"object": "part", "settings": {"threshold": 50}})
        opened.append(folder)
        more.setdefault("inspector", Inspector(threshold=50))
        station = Station(folder, part="part", root=inbox, **more)
        return station, inbox

    yield open_
    for folder in opened:
        folder.close()


def judged(station, *paths):
    return [row for _, row in station.judge([arrival(path) for path in paths])]


def test_each_picture_gets_a_row_and_a_message(line):
    sink = Told()
    station, inbox = line(sinks=sink, profile="flange")
    rows = judged(station, picture(inbox / "a.png"), picture(inbox / "b.png", 120))
    assert [row.verdict for row in rows] == ["ok", "defect"]
    assert [(one["verdict"], one["profile"], one["source"]) for one in sink.messages] == [
        ("ok", "flange", "watch"),
        ("defect", "flange", "watch"),
    ]
    assert len({one["id"] for one in sink.messages}) == 2
    assert all(station.has(inbox / name, stamp_of(inbox / name)) for name in ("a.png", "b.png"))
    again, _ = line()
    assert again.has(inbox / "a.png", stamp_of(inbox / "a.png"))
    picture(inbox / "a.png", 100)
    assert not again.has(inbox / "a.png", stamp_of(inbox / "a.png"))  # another picture under its name


def test_sorted_pictures_keep_their_rows_when_a_name_comes_again(line):
    station, inbox = line(sorter=Sorter(inbox_of(line)))
    for _ in range(2):
        judged(station, picture(inbox / "a.png"))
    assert sorted(path.name for path in (inbox / "ok").iterdir()) == ["a-2.png", "a.png"]
    assert sorted(row.name for row in station.folder.rows.values()) == ["ok/a", "ok/a-2"]
    assert not (inbox / "a.png").exists()


def inbox_of(line):
    return line()[1]


def test_a_move_cut_short_is_made_up_for(line, monkeypatch):
    sorter = Sorter(inbox_of(line))
    station, inbox = line(sorter=sorter)
    monkeypatch.setattr(sorter, "move", lambda path, place: None)  # killed here
    (row,) = judged(station, picture(inbox / "a.png", 120))
    assert (inbox / "a.png").exists() and row.path.endswith("defect/a.png")
    again, _ = line(sorter=Sorter(inbox))
    assert again.has(inbox / "a.png", stamp_of(inbox / "a.png"))
    assert (inbox / "defect" / "a.png").exists() and not (inbox / "a.png").exists()


def test_a_picture_judged_again_after_a_crash_before_its_line_has_the_same_message(line, monkeypatch):
    sink = Told()
    station, inbox = line(sinks=sink)
    path = picture(inbox / "a.png")

    def killed(row):
        raise KeyboardInterrupt

    monkeypatch.setattr(station.folder, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        judged(station, path)
    again, _ = line(sinks=sink)
    assert not again.has(path, stamp_of(path))
    judged(again, path)
    first, second = sink.messages
    assert first["id"] == second["id"] and first["verdict"] == second["verdict"]


def test_a_broken_file_is_tried_again_before_it_is_unreadable(line):
    station, inbox = line(patience=0.3, sorter=Sorter(inbox_of(line)))
    (inbox / "a.png").write_bytes(b"no picture yet")
    assert judged(station, inbox / "a.png") == [None]
    early = Arrival(inbox / "a.png", stamp_of(inbox / "a.png"), time.monotonic() - 1)
    ((_, row),) = station.judge([early])
    assert row.verdict == "unreadable" and "not an image" in row.error
    assert (inbox / "unfit" / "a.png").exists() and station.folder.counts()["unreadable"] == 1


def test_a_black_picture_is_not_ok_though_nothing_stands_out(line):
    station, inbox = line()
    dark = np.random.default_rng(0).integers(0, 9, (48, 48, 3), np.uint8)  # the noise of a camera in the dark
    cv2.imwrite(str(inbox / "dark.png"), dark)
    cv2.imwrite(str(inbox / "black.png"), 0 * dark)
    rows = judged(station, inbox / "dark.png", inbox / "black.png", picture(inbox / "a.png"))
    assert [row.verdict for row in rows] == ["failed", "failed", "ok"] and "look at the lamp" in rows[0].error


def test_a_picture_whose_folder_went_away_is_judged_when_it_comes_back(line, tmp_path):
    sink = Told()
    station, inbox = line(sinks=sink)
    waiting = [arrival(picture(inbox / "share" / name)) for name in ("a.png", "b.png")]
    (inbox / "share").rename(tmp_path / "away")
    assert [row.verdict for _, row in station.judge(waiting)] == ["unreadable", "unreadable"]
    (tmp_path / "away").rename(inbox / "share")
    for opened in (station, line()[0]):  # after a restart, too
        assert not opened.has(waiting[0].path, waiting[0].stamp)
    station, _ = line(sinks=sink)
    assert [row.verdict for _, row in station.judge(waiting)] == ["ok", "ok"]
    assert len({one["id"] for one in sink.messages}) == 4 and len(station.folder.rows) == 2


def test_a_file_that_changes_while_it_waits_is_not_judged_yet(line):
    station, inbox = line(patience=0)
    old = arrival(picture(inbox / "a.png"))
    picture(inbox / "a.png", 120, side=50)
    assert [row for _, row in station.judge([old])] == [None]
    assert not station.folder.rows


def test_one_that_vanished_is_noted_and_not_taken_for_good(line):
    station, inbox = line(sorter=Sorter(inbox_of(line)))
    one = arrival(picture(inbox / "a.png"))
    one.path.unlink()
    ((_, row),) = station.judge([one])
    assert row.verdict == "unreadable" and row.error == "no such file"


def test_a_part_that_nobody_saw_is_failed_and_told_on(line):
    sink = Told()
    station, inbox = line(sinks=sink)
    row = station.miss(inbox / "1.jpg", "dropped")
    assert row.verdict == "failed" and station.folder.counts()["failed"] == 1
    assert [(one["verdict"], one["error"]) for one in sink.messages] == [("failed", "dropped")]


def test_another_program_that_takes_the_place_is_told_of(line, monkeypatch):
    said = []
    sorter = Sorter(inbox_of(line))
    station, inbox = line(sorter=sorter, warn=said.append)

    def taken(path, place):
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(sorter, "move", taken)
    judged(station, picture(inbox / "a.png"))
    assert "stays where it is" in said[0] and (inbox / "a.png").exists()
    assert station.has(inbox / "a.png", stamp_of(inbox / "a.png"))


def test_the_report_is_there_while_the_line_runs(line):
    station, inbox = line()
    judged(station, picture(inbox / "a.png"), picture(inbox / "b.png", 120))
    station.keep_report()
    out = station.folder.path
    assert "b.png" in (out / "report.html").read_text()
    assert len((out / "results.csv").read_text().splitlines()) == 3
    judged(station, picture(inbox / "c.png"))  # and it goes on
    assert len((out / "results.jsonl").read_text().splitlines()) == 3


def test_a_report_takes_a_fiftieth_of_the_time_at_most(line, monkeypatch):
    from anomaly.commands import stations

    station, inbox = line()
    monkeypatch.setattr(stations, "REPORT_EVERY", 0.0)
    made = []
    monkeypatch.setattr(station, "keep_report", lambda: (made.append(1), time.sleep(0.05)))
    keep = stations.keeping_up(station)
    keep()
    assert not made  # nothing new
    judged(station, picture(inbox / "a.png"))
    keep()
    judged(station, picture(inbox / "b.png"))
    keep()
    assert len(made) == 1  # the next is due in two and a half seconds


def test_a_name_for_each_judgement():
    row = ImageRow("a.png", "a", "/in/a.png", 10, 20, "part", "ok", score=1.5)
    assert id_of("abc", row) == id_of("abc", row) and len(id_of("abc", row)) == 32
    others = [
        ImageRow("a.png", "a", "/in/a.png", 10, 21, "part", "ok"),
        ImageRow("b.png", "a", "/", 10, 20, "x", "ok"),
    ]
    assert len({id_of("abc", one) for one in [row, *others]} | {id_of("abd", row)}) == 4
    message = verdict_of(row, "1", "now", "watch")
    assert message["verdict"] == "ok" and message["regions"] == [] and message["schema"] == 1


def test_watching_once_catches_up_in_order_and_ends(line):
    import threading

    station, inbox = line()
    for number in range(5):
        picture(inbox / f"{number}.png", 20 * number)
        time.sleep(0.01)
    told = []
    arrivals = Arrivals(inbox, station.has, settle=0.05)
    watch_folder(arrivals, station, threading.Event(), told.append, once=True)
    assert [row.name for row in told] == list("01234")
    watch_folder(arrivals, station, threading.Event(), told.append, once=True)
    assert len(told) == 5


def test_watching_judges_what_comes_and_ends_when_told(line):
    import threading

    pytest.importorskip("watchfiles")
    station, inbox = line()
    stop, told = threading.Event(), []

    def tell(row):
        told.append((row.name, time.time()))
        if len(told) == 2:
            stop.set()

    written = []

    def write():
        for name in ("first", "second"):
            time.sleep(0.3)
            picture(inbox / f"{name}.png")
            written.append(time.time())

    writer = threading.Thread(target=write)
    writer.start()
    watch_folder(Arrivals(inbox, station.has, settle=0.1), station, stop, tell)
    writer.join()
    assert [name for name, _ in told] == ["first", "second"]
