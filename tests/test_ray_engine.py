"""The Ray engine: the same table as the local one, and what was done before is not done again. One small cluster."""

import shutil
from pathlib import Path

import pytest
from drawn_archive import draw, examiner, listed, rows_of

from anomaly.archive import local_engine
from anomaly.archive.local_engine import TooManyErrors
from anomaly.archive.places import Place
from anomaly.archive.retrying import reopen
from anomaly.archive.table import read_rows

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*minimum number of concurrent actors.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two cores for workers, and those that are spared."""
    import ray

    from anomaly.archive import ray_engine

    tests = str(Path(__file__).parent)
    ray.init(
        num_cpus=2 + ray_engine.SPARE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": tests}},
    )
    yield ray_engine
    ray.shutdown()


def test_a_worker_is_told_when_there_are_too_many_errors():
    from anomaly.archive.ray_engine import _Counter

    assert _Counter(0, None).add(9, 9)
    counter = _Counter(2, 3)
    assert counter.add(16, 1) and not counter.add(16, 1)
    assert counter.said() == (32, 4)


def test_ray_gives_the_table_of_the_local_engine_and_goes_on_where_it_stopped(cluster, tmp_path):
    draw(tmp_path / "img", 40)
    (tmp_path / "img" / "bad.png").write_bytes(b"no picture")
    place, manifest = listed(tmp_path / "img", tmp_path / "local")
    local_engine.run(place, manifest, examiner, 1)
    place, manifest = listed(tmp_path / "img", tmp_path / "ray")
    told = []
    counts = cluster.run(place, manifest, examiner, 2, None, tell=told.append)
    assert sum(counts.values()) == 41 and counts["unreadable"] == 1
    assert (told[-1].done, told[-1].failed) == (41, 1)
    assert cluster.run(place, manifest, examiner, 2, None) == counts
    with pytest.raises(TooManyErrors):
        cluster.run(place, manifest, examiner, 2, None, most_errors=0)
    for kind in ("images", "errors"):
        ours, theirs = rows_of(tmp_path / "ray", kind), rows_of(tmp_path / "local", kind)
        assert ours.keys() == theirs.keys()
        for one, row in ours.items():
            assert row | {"milliseconds": 0} == theirs[one] | {"milliseconds": 0}
    ours, theirs = (next(read_rows(Place(str(tmp_path / one)), "images", 0)) for one in ("ray", "local"))
    assert ours.schema == theirs.schema
    assert not place.exists("_checkpoint/chapter-00000") and place.files("_done") == ["chapter-00000.json"]


def test_errors_are_done_again_and_nothing_else(cluster, tmp_path):
    bad = tmp_path / "img" / "bad.png"
    (good,) = draw(tmp_path / "img", 20)[:1]
    bad.write_bytes(b"no picture")
    (tmp_path / "img" / "worse.png").write_bytes(b"no picture")
    place, manifest = listed(tmp_path / "img", tmp_path / "t")
    cluster.run(place, manifest, examiner, 2, None)
    before = rows_of(place.path)
    shutil.copyfile(good, bad)
    assert reopen(place, "ray") == 2
    assert not rows_of(place.path, "errors") and not place.exists("_done/chapter-00000.json")
    counts = cluster.run(place, manifest, examiner, 2, None)
    assert counts["unreadable"] == 1 and sum(counts.values()) == 22
    after = rows_of(place.path)
    assert len(after) == 21 and all(after[one] == row for one, row in before.items())
    assert [row["path"][-9:] for row in rows_of(place.path, "errors").values()] == ["worse.png"]
