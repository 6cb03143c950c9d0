"""Parts and feedback in SQLite: what is told is on the disk, one writer, a kill loses nothing that was answered."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

pytest.importorskip("filelock")

from anomaly.errors import SteerAnomalyError
from anomaly.line.store import FILE, PART_COLUMNS, Store, opened, today


def part(**values):
    known = {"verdict": "ok", "object": "part", "content": "c", "answer": "{}", "score": 1.0, "profile": "p"}
    return dict.fromkeys(PART_COLUMNS) | {"received": f"{today()}T10:00:00.000+00:00"} | known | values


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path) as made:
        yield made


def test_parts_come_back_newest_first_with_what_was_said(store):
    first, second = (store.add(part(verdict=verdict)).result() for verdict in ("ok", "defect"))
    store.tell(store.part(second), "defect", None).result()
    store.tell(store.part(second), "good", "a shadow").result()
    assert [one["id"] for one in store.parts()] == [second, first]
    assert [one["was"] for one in store.parts()] == ["good", None]  # the last word
    assert [one["id"] for one in store.parts(after=first)] == [second]
    assert [one["id"] for one in store.parts(before=second)] == [first]
    assert store.counts(today()) == {"ok": 1, "defect": 1} and store.counts("9999") == {}
    assert store.told("p")[0]["was"] == "good" and len(store.told("p")) == 1


def test_one_change_that_fails_takes_no_other_with_it(store):
    good = [store.add(part()) for _ in range(5)]
    bad = store.change(lambda connection: connection.execute("INSERT INTO nowhere VALUES (1)"))
    after = store.add(part())
    assert len({one.result() for one in [*good, after]}) == 6
    with pytest.raises(sqlite3.OperationalError):
        bad.result()


def test_what_was_added_is_in_the_file_for_another_reader(store, tmp_path):
    number = store.add(part()).result()
    other = sqlite3.connect(tmp_path / FILE)
    assert other.execute("SELECT id FROM parts").fetchall() == [(number,)]
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_a_second_service_on_the_same_folder_is_refused(store, tmp_path):
    with pytest.raises(SteerAnomalyError, match="only service"):
        Store(tmp_path)


def test_threads_that_come_and_go_leave_no_open_files(store):
    store.add(part()).result()
    for _ in range(40):
        thread = threading.Thread(target=store.parts)
        thread.start()
        thread.join()
    assert store._free.qsize() == 1


def test_good_pictures_count_once_and_are_forgotten(store):
    assert store.add_good("p", "a", "x", "one.png", "given") and not store.add_good(
        "p", "a", "y", None, "given"
    )
    assert [one["photo"] for one in store.goods("p")] == ["x"] and store.drafts() == ["p"]
    assert store.good("a")["profile"] == "p" and store.good("b") is None
    store.remove_goods("p", ["a"])
    assert store.goods("p") == []


def test_old_photographs_are_given_up_but_not_those_in_use(store):
    for photo in "abcdef":
        store.add(part(photo=photo)).result()
    store.add_good("p", "x", "a", None, "false alarm")
    store.tell(store.part(2), "defect", None).result()
    assert store.forget_photos(3) == ["c"]
    assert [one["photo"] for one in store.parts()] == ["f", "e", "d", None, "b", "a"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from anomaly.line.store import Store
from test_store import part
store = Store(Path(sys.argv[1]))
while True:
    futures = [store.add(part()) for _ in range(3)]
    for one in futures:
        print(one.result(), flush=True)
"""


@pytest.mark.slow
def test_killed_it_keeps_every_part_that_was_told(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), os.path.dirname(__file__)],  # noqa: PTH120
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        told = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        told += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    with opened(tmp_path) as store:  # the lock was let go of by the kernel
        kept = {one["id"] for one in store.parts(limit=1_000_000)}
    assert set(told) <= kept and len(told) == len(set(told))


def test_results_of_a_later_version_are_left_alone(tmp_path):
    with opened(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(SteerAnomalyError, match="newer steer-anomaly"):
        Store(tmp_path)
