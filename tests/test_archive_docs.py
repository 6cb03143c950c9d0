"""What docs/archive.md says: its schema, and its ten questions, asked of a table."""

import re
from pathlib import Path

import duckdb
import pytest
from drawn_archive import draw, examiner, listed

from anomaly.archive import lance_copy, local_engine
from anomaly.archive.columns import SCHEMA
from anomaly.archive.manifest import listed as manifest_at
from anomaly.archive.places import Place
from anomaly.archive.table import close, commit
from anomaly.inspection import Region

TEXT = (Path(__file__).parent.parent / "docs" / "archive.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a table: 16 pictures, some defective, one broken."""
    folder = tmp_path_factory.mktemp("asked")
    draw(folder / "img", 15)
    (folder / "img" / "bad.png").write_bytes(b"no picture")
    place, manifest = listed(folder / "img", folder / "table")
    (shard,) = manifest.shards(0)
    rows = list(examiner(threshold=71.0).rows(local_engine.read_shard(place, shard)))
    for row in rows:
        if row["verdict"] == "defect":
            row["regions"] = [dict(zip(REGION, (9, 1, 2, 4, 5, 2.5, 3.5, 0.9), strict=True))]
        if row["score"] is not None:
            row["evidence"] = [{"name": "self_similarity", "at_peak": 2.0, "highest": 3.0}]
            row["gate"] = dict.fromkeys(GATE, 0.5)
    commit(place, shard, rows)
    return folder


REGION = ("area", "x0", "y0", "x1", "y1", "center_x", "center_y", "peak")
GATE = [field.name for field in SCHEMA.field("gate").type]


def test_every_column_is_in_the_documentation_and_no_other():
    table = TEXT.split("## The table")[1].split("## Ten questions")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] and set(
        re.findall(r"`(\w+)`", " ".join(cells))
    ) == set(SCHEMA.names)
    for name in (*REGION, *GATE):
        assert f"`{name}`" in table


def test_there_are_ten_questions():
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_has_an_answer(here, monkeypatch, question):
    monkeypatch.chdir(here)
    answers = duckdb.sql(question).fetchall()
    assert answers and not any(value != value for row in answers for value in row)


def test_some_answers_are_right(here, monkeypatch):
    monkeypatch.chdir(here)
    scores = [score for score, _ in duckdb.sql(QUESTIONS[0]).fetchall()]
    assert len(scores) == 15 and scores == sorted(scores, reverse=True)
    defects = sum(score >= 71 for score in scores)
    assert 0 < defects < 15
    assert sum(row[2] for row in duckdb.sql(QUESTIONS[2]).fetchall()) == defects
    assert len(duckdb.sql(QUESTIONS[5]).fetchall()) == defects
    ((_, why, count, example),) = duckdb.sql(QUESTIONS[8]).fetchall()
    assert count == 1 and "not an image" in why and example.endswith("bad.png")


def test_a_region_is_told_as_the_documentation_says():
    from anomaly.archive.columns import _flat

    region = Region(9, (1, 2, 4, 5), (2.5, 3.5), 0.9)
    assert _flat(region) == dict(zip(REGION, (9, 1, 2, 4, 5, 2.5, 3.5, 0.9), strict=True))


def test_lance_finds_heatmaps_alike_as_the_documentation_says(here, monkeypatch):
    pytest.importorskip("lance")
    place = Place(str(here / "table"))
    close(place, 0)
    lance_copy.copy(place, manifest_at(place))
    monkeypatch.chdir(here)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["alike"]["path"][0].as_py() == names["one"]["path"] and len(names["alike"]) == 10
