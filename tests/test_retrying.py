"""Errors are taken out so that they are done again, and what was stopped meanwhile is gone through by the next run."""

import pytest
from drawn_archive import draw, finish, listed, rows_of
from pyarrow import parquet

from anomaly.archive import retrying


@pytest.fixture
def place(tmp_path):
    """A finished table of two chapters; the second has two errors."""
    draw(tmp_path / "img", 32)
    for name in ("0020.png", "0030.png"):
        (tmp_path / "img" / name).write_bytes(b"no picture")
    place, manifest = listed(tmp_path / "img", tmp_path / "t", chapter=16)
    finish(place, manifest)
    return place


def state(place):
    """Rows, and what is noted about them."""
    folder = place.path / "_checkpoint" / "chapter-00001"
    kept = {one.name: set(parquet.read_table(one)["id"].to_pylist()) for one in folder.glob("*")}
    return set(rows_of(place.path)), rows_of(place.path, "errors"), kept, place.files("_done")


def test_with_ray_a_checkpoint_of_what_stays_takes_the_place_of_the_errors(place):
    rows, errors, *_ = state(place)
    assert len(errors) == 2 and retrying.reopen(place, "ray") == 2
    after, gone, kept, done = state(place)
    assert after == rows and not gone and done == ["chapter-00000.json"]
    assert list(kept) == ["kept.parquet"]
    of_chapter = parquet.read_table(place.path / "_manifest" / "chapter-00001.parquet")["id"].to_pylist()
    assert kept["kept.parquet"] == rows & set(of_chapter)
    assert not place.files("_retry")


def test_rows_that_ray_had_not_confirmed_are_done_again(place):
    (name,) = place.files("images/chapter-00001")[:1]
    place.write(f"_checkpoint/chapter-00001/{name.removesuffix('.parquet')}.pending.parquet", b"")
    place.remove("_done/chapter-00001.json")
    retrying.reopen(place, "ray")
    rows, errors, kept, _ = state(place)
    assert not place.exists(f"images/chapter-00001/{name}") and not errors
    assert list(kept) == ["kept.parquet"] and kept["kept.parquet"] < rows


@pytest.mark.parametrize("steps", range(8))
def test_wherever_it_is_stopped_the_next_run_brings_it_to_its_end(place, monkeypatch, steps):
    left = [steps]

    class Stopped(Exception):
        pass

    def counted(act):
        def acting(self, *arguments):
            if not left[0]:
                raise Stopped
            left[0] -= 1
            return act(self, *arguments)

        return acting

    rows, errors, *_ = state(place)
    with monkeypatch.context() as patch:
        for name in ("write", "remove"):
            patch.setattr(type(place), name, counted(getattr(type(place), name)))
        try:
            retrying.reopen(place, "ray")
            stopped = False
        except Stopped:
            stopped = True
    retrying.go_through(place)
    if stopped and steps == 0:  # before anything was noted
        assert set(state(place)[1]) == set(errors)
        return
    after, gone, kept, done = state(place)
    assert after == rows and not gone and done == ["chapter-00000.json"] and list(kept) == ["kept.parquet"]


def test_with_the_local_engine_whole_shards_are_open(place):
    assert retrying.reopen(place, "local") == 2
    assert len(place.files("images/chapter-00001")) == 0 and place.files("_done") == ["chapter-00000.json"]
    assert len(place.files("images/chapter-00000")) == 1
