"""`steer-anomaly inspect` as a user meets it: output, files, exit codes, and every kind of bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from anomaly.cli import main

GOLDEN = Path(__file__).parent / "golden" / "steervit"
MODEL = [
    "--model", str(GOLDEN / "steervit.pth"), "--trunk", str(GOLDEN / "trunk.safetensors"),
    "--text-encoder", str(GOLDEN / "tiny-roberta"), "--quiet",
]  # fmt: skip


def draw(path, height=40, width=60, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["inspect", "--object", "bottle", *MODEL, *map(str, arguments)])


def rows(out):
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def test_a_folder_gives_every_output(tmp_path):
    for i in range(3):
        draw(tmp_path / "img" / "sub" / f"part {i} Größe.png", seed=i)
    out = tmp_path / "out"
    done = run(tmp_path / "img", "--out", out, "--threshold", "-5")
    assert done.exit_code == 0, done.output
    assert "3 images inspected with steervit: 3 defect" in done.output
    assert str(out / "report.html") in done.output
    assert {row["verdict"] for row in rows(out).values()} == {"defect"}
    name = "sub/part 1 Größe"
    heat = cv2.imdecode(np.fromfile(out / "heatmaps" / f"{name}.tiff", np.uint8), cv2.IMREAD_UNCHANGED)
    assert heat.shape == (40, 60)
    assert heat.dtype == np.float32
    assert (out / "masks" / f"{name}.png").exists()
    assert (out / "overlays" / f"{name}.jpg").exists()
    line = json.loads((out / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert line["regions"][0]["area"] > 0
    record = json.loads((out / "run.json").read_text())
    assert record["finished"]
    assert record["settings"]["threshold"] == -5
    assert "steervit" in (out / "report.html").read_text(encoding="utf-8")


def test_without_a_threshold_images_are_scored_and_not_judged(tmp_path):
    draw(tmp_path / "a.png")
    done = run(tmp_path / "a.png", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "--threshold" in done.output
    assert rows(tmp_path / "out")["a.png"]["verdict"] == "unjudged"


def test_exit_codes_for_scripts(tmp_path):
    draw(tmp_path / "img" / "a.png")
    common = [tmp_path / "img", "--fail-on-defect"]
    assert run(*common, "--threshold", "-5", "--out", tmp_path / "bad").exit_code == 1
    assert run(*common, "--threshold", "1e6", "--out", tmp_path / "good").exit_code == 0
    (tmp_path / "img" / "broken.jpg").write_bytes(b"")
    assert run(*common, "--threshold", "-5", "--out", tmp_path / "broken").exit_code == 3
    assert run(tmp_path / "nothing-here", "--out", tmp_path / "x").exit_code == 2


def test_unreadable_images_are_named_and_the_others_go_on(tmp_path):
    whole = draw(tmp_path / "img" / "whole.jpg", 200, 200)
    (tmp_path / "img" / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "img" / "empty.png").write_bytes(b"")
    (tmp_path / "img" / "text.png").write_text("not an image")
    Image.new("CMYK", (30, 20), (0, 200, 200, 0)).save(tmp_path / "img" / "cmyk.jpg")
    Image.fromarray(np.full((20, 30), 40_000, np.uint16)).save(tmp_path / "img" / "deep.png")
    Image.new("RGBA", (30, 20), (255, 0, 0, 128)).save(tmp_path / "img" / "alpha.png")
    Image.new("L", (1, 1), 7).save(tmp_path / "img" / "pixel.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), (9, 9, 9)).save(tmp_path / "img" / "turned.jpg", exif=exif)
    done = run(tmp_path / "img", "--out", tmp_path / "out", "--threshold", "1e6")
    assert done.exit_code == 3
    found = rows(tmp_path / "out")
    bad = {name for name, row in found.items() if row["verdict"] == "unreadable"}
    assert bad == {"cut.jpg", "empty.png", "text.png"}
    assert all(found[name]["error"] for name in bad)
    assert len(found) == 9
    heat = cv2.imread(str(tmp_path / "out" / "heatmaps" / "turned.tiff"), cv2.IMREAD_UNCHANGED)
    assert heat.shape == (30, 20)  # upright


def test_a_very_large_image_is_inspected(tmp_path):
    Image.new("L", (12_000, 9_000), 90).save(tmp_path / "large.jpg")
    done = run(tmp_path / "large.jpg", "--out", tmp_path / "out", "--tiles", "2x3")
    assert done.exit_code == 0, done.output


def test_the_same_command_continues_and_another_is_refused(tmp_path):
    for i in range(3):
        draw(tmp_path / "img" / f"{i}.png", seed=i)
    common = [tmp_path / "img", "--out", tmp_path / "out", "--threshold", "1"]
    run(*common)
    draw(tmp_path / "img" / "3.png", seed=3)
    again = run(*common)
    assert "3 of 4 images are done already" in again.output
    assert len(rows(tmp_path / "out")) == 4
    other = run(*common, "--omega", "0.5")
    assert other.exit_code == 2
    assert "--overwrite" in other.output
    assert run(*common, "--omega", "0.5", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prompts", "metl"], "metl"),
        (["--prompts", "default", "--prompt", "the crack"], "--prompt"),
        (["--tiles", "2", "--scales", "1,2"], "--tiles"),
        (["--tiles", "x"], "tiles"),
        (["--device", "nowhere"], "nowhere"),
    ],
)
def test_contradicting_or_wrong_options(tmp_path, options, said):
    draw(tmp_path / "a.png")
    done = run(tmp_path / "a.png", "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_folder_without_images_and_an_unwritable_output(tmp_path):
    (tmp_path / "empty").mkdir()
    none = run(tmp_path / "empty", "--out", tmp_path / "out")
    assert none.exit_code == 2
    assert ".jpg" in none.output
    draw(tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    blocked = run(tmp_path / "a.png", "--out", tmp_path / "file")
    assert blocked.exit_code == 2
    assert "Traceback" not in blocked.output


def test_a_full_disk_is_said_and_what_was_done_is_kept(tmp_path, monkeypatch):
    import anomaly.runs.folder

    for i in range(3):
        draw(tmp_path / "img" / f"{i}.png", seed=i)
    real, written = anomaly.runs.folder.write_atomically, []

    def full_after_ten(path, write):
        written.append(path)
        if len(written) > 10 and path.suffix == ".tiff":
            raise OSError(28, "No space left on device", str(path))
        return real(path, write)

    monkeypatch.setattr(anomaly.runs.folder, "write_atomically", full_after_ten)
    done = run(tmp_path / "img", "--out", tmp_path / "out", "--batch-size", "1")
    assert done.exit_code == 2
    assert "space" in done.output
    assert "Traceback" not in done.output
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) >= 1


def test_ctrl_c_leaves_what_was_done(tmp_path):
    for i in range(60):
        draw(tmp_path / "img" / f"{i:02}.png", 40, 40, seed=i)
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "anomaly.cli", "inspect", "--object", "bottle", *MODEL,
        str(tmp_path / "img"), "--out", str(out), "--batch-size", "1", "--tiles", "4",
    ]  # fmt: skip
    # A shell's background jobs ignore Ctrl-C and hand that down; this process must not.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal, deadline = out / "results.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and (not journal.exists() or journal.stat().st_size == 0):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    assert "run the same command again" in said.decode()
    assert 1 <= len(rows(out)) < 60
    assert not json.loads((out / "run.json").read_text())["finished"]
    assert (out / "report.html").exists()
