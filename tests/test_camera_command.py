"""`steer-anomaly camera` as a user meets it, on video files."""

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from anomaly.cli import main

FLANGES = Path(__file__).parent.parent / "docs" / "samples" / "flanges" / "test"


def camera(*words):
    return CliRunner().invoke(main, ["camera", *map(str, words)])


@pytest.fixture
def video(tmp_path):
    """Three flanges that stand still for five frames each."""
    path, names = tmp_path / "v.avi", ("good-01", "dent-1", "good-02")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (224, 224))
    for name in names:
        for _ in range(5):
            writer.write(cv2.imread(str(FLANGES / f"{name}.jpg")))
    writer.release()
    return path


def test_collecting_saves_pictures_and_judges_nothing(tmp_path, video):
    done = camera(video, "--collect", tmp_path / "good", "--count", 4)
    assert done.exit_code == 0 and "4 pictures in" in done.output and "0 frames dropped" in done.output
    files = list((tmp_path / "good").rglob("*.jpg"))
    assert len(files) == 4 and cv2.imread(str(files[0])).shape == (224, 224, 3)


@pytest.mark.slow
def test_parts_that_come_to_rest_are_judged_and_kept(tmp_path, video):
    out = tmp_path / "out"
    words = ["--object", "flange", "--threshold", "0.9", "--out", out, "--sink", f"csv:{tmp_path / 'v.csv'}"]
    done = camera(video, "--trigger", "motion", *words)
    assert done.exit_code == 0 and "15 frames, 2 pictures judged" in done.output, done.output
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and all(Path(row["path"]).is_file() for row in rows)
    assert len((tmp_path / "v.csv").read_text().splitlines()) == 3
    # What a crash left unjudged is judged first; what is judged is what is kept.
    (out / "photos" / "2000-01-01").mkdir()
    left = out / "photos" / "2000-01-01" / "000000-000-000001.jpg"
    left.write_bytes(Path(rows[0]["path"]).read_bytes())
    again = camera(video, "--count", 1, "--photos", "none", *words)
    assert "000000-000-000001.jpg" in again.output and not left.exists()
    rows += [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    scores = {row["score"] for row in rows if row["path"] in (rows[0]["path"], str(left))}
    assert len(scores) == 1


@pytest.mark.parametrize(
    "words, reason",
    [
        (["nothing.mp4"], "camera's number"),
        (["{video}", "--trigger", "key"], "has no now"),
        (["{video}", "--collect", "good", "--sink", "csv:x"], "judges nothing"),
        (["{video}"], "Missing option '--profile'"),
    ],
)
def test_refusals_are_one_sentence(video, words, reason):
    done = camera(*[word.format(video=video) for word in words])
    assert done.exit_code == 2 and reason in done.output
