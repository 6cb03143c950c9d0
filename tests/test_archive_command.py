"""`steer-anomaly archive` as a user meets it: the same results as `inspect`, exit codes, reports, and judging again."""

import json
import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from drawn_archive import rows_of
from PIL import Image

from anomaly.cli import main
from anomaly.commands import exit_codes, extras

GOLDEN = Path(__file__).parent / "golden" / "steervit"
MODEL = [
    "--model", str(GOLDEN / "steervit.pth"), "--trunk", str(GOLDEN / "trunk.safetensors"),
    "--text-encoder", str(GOLDEN / "tiny-roberta"), "--quiet",
]  # fmt: skip
DOCS = Path(__file__).parent.parent / "docs" / "archive.md"


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def archive(*arguments):
    return run("archive", *arguments, "--object", "bottle", *MODEL, "--workers", 2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(20):
        size = (60 + i, 40 + 7 * (i % 3), 3)
        pixels = np.random.default_rng(i).integers(0, 255, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def table(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "table"
    done = archive(pictures, "--out", out, "--threshold", "14.6")
    assert done.exit_code == exit_codes.FAILED_IMAGES, done.output
    assert "1 unreadable" in done.output and "21 images" in done.output
    return out


@pytest.mark.slow
def test_the_rows_are_those_of_inspect_to_the_bit(pictures, table, tmp_path):
    out = tmp_path / "out"
    assert (
        run("inspect", pictures, "--object", "bottle", *MODEL, "--threshold", "14.6", "--out", out).exit_code
        == 3
    )
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    mine = {row["path"]: row for row in [*rows_of(table).values(), *rows_of(table, "errors").values()]}
    assert len(lines) == len(mine) == 21
    assert len({line["verdict"] for line in lines}) == 3
    for line in lines:
        row = mine[line["path"]]
        for name in (
            "verdict",
            "score",
            "threshold",
            "width",
            "height",
            "object",
            "model",
            "error",
            "p_value",
        ):
            assert row[name] == line[name], name
        boxes = [[one["x0"], one["y0"], one["x1"], one["y1"]] for one in row["regions"] or []]
        assert boxes == [one["box_xyxy"] for one in line["regions"]]
        assert [one["peak"] for one in row["regions"] or []] == [one["peak"] for one in line["regions"]]


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(pictures, table):
    before = {path: path.stat().st_mtime_ns for path in table.rglob("*.parquet")}
    done = archive(pictures, "--out", table, "--threshold", "14.6", "--max-errors", "5%")
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in table.rglob("*.parquet")} == before
    record = json.loads((table / "_run.json").read_text())
    assert record["finished"] and record["counts"]["unreadable"] == 1 and len(record["resumed"]) == 1
    assert record["settings"]["settings_hash"] == rows_of(table).popitem()[1]["settings_hash"]


@pytest.mark.slow
def test_a_finished_table_gets_lance_datasets(pictures, table):
    lance = pytest.importorskip("lance")
    done = archive(pictures, "--out", table, "--threshold", "14.6", "--format", "lance")
    assert done.exit_code == exit_codes.FAILED_IMAGES and "images.lance: 20 rows" in done.output, done.output
    assert lance.dataset(str(table / "images.lance")).count_rows() == 20
    assert len(rows_of(table)) == 20 and run("judge", table, "--threshold", "12").exit_code == 0


@pytest.mark.slow
def test_what_was_mended_is_done_again(pictures, table):
    bad = pictures / "bad.png"
    shutil.copy(pictures / "00.png", bad)
    try:
        done = archive(pictures, "--out", table, "--threshold", "14.6", "--retry-errors")
    finally:
        bad.write_bytes(b"no picture")
    assert done.exit_code == 0 and "1 images without a result" in done.output, done.output
    assert len(rows_of(table)) == 21 and not rows_of(table, "errors")


@pytest.mark.slow
def test_another_threshold_is_tried_on_the_table(table):
    done = run("judge", table, "--threshold", "12")
    assert done.exit_code == 0, done.output
    asked = f"select count(*) from read_parquet('{table}/images/**/*.parquet') where score >= 12"
    (now,) = duckdb.sql(asked).fetchall()[0]
    moved = re.findall(r"(\w+) +-> defect +(\d+)", done.output)
    assert sum(int(count) for _, count in moved) == now and "nothing was written" in done.output
    assert "--threshold, or --profile" in run("judge", table).output
    assert run("judge", table, "--threshold", "1", "--min-area", "9").exit_code == exit_codes.USAGE


@pytest.mark.slow
def test_the_report_shows_the_worst_and_says_what_is_gone(pictures, table, tmp_path):
    ranked = sorted(rows_of(table).values(), key=lambda row: -row["score"])
    gone = Path(ranked[1]["path"])
    hidden = gone.rename(gone.with_suffix(".away"))
    try:
        done = run("archive", "report", table, "--worst", 3, "--out", tmp_path / "r", "--quiet")
    finally:
        hidden.rename(gone)
    assert done.exit_code == 0 and f"not shown: {gone}: no such file" in done.output
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    names = [Path(row["path"]).name for row in ranked]
    assert all(name in page for name in names[:3]) and not any(name in page for name in names[3:])
    assert len(list((tmp_path / "r" / "previews" / "photo").iterdir())) == 2


def test_a_dry_run_writes_nothing(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = archive(pictures, "--dry-run", "--price", "2", "--threshold", "12")
    assert done.exit_code == 0, done.output
    assert "21 images" in done.output and "21 tried" in done.output and "1 without a result" in done.output
    assert re.search(r"2 workers: .*in all", done.output)
    assert not list(tmp_path.iterdir())


def test_wrong_usage_is_said(pictures, tmp_path):
    assert "--out" in archive(pictures).output
    assert "--object" in run("archive", pictures, "--out", tmp_path / "t").output
    assert "0.5%" in archive(pictures, "--out", tmp_path / "t", "--max-errors", "many").output
    assert "0 or more" in archive(pictures, "--out", tmp_path / "t", "--max-errors", "nan").output
    assert "--format lance" in archive(pictures, "--out", tmp_path / "t.lance").output
    assert archive(tmp_path / "none", "--out", tmp_path / "t").exit_code == exit_codes.USAGE
    assert "is none" in run("archive", "report", tmp_path, "--out", tmp_path / "r").output


@pytest.mark.parametrize(("missing", "engine"), [("pyarrow", "local"), ("ray", "ray")])
def test_a_missing_package_is_said_first(pictures, tmp_path, monkeypatch, missing, engine):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else name)
    done = archive(pictures, "--out", tmp_path / "t", "--engine", engine)
    assert done.exit_code == exit_codes.USAGE
    assert f"needs {missing}" in done.output and "pip install 'steer-anomaly[" in done.output
