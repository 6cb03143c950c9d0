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
from anomaly.commands import exit_codes
from anomaly.commands.inspect import _exit_code

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


def nano(*arguments):
    return CliRunner().invoke(main, ["inspect", "--object", "bottle", "--quiet", *map(str, arguments)])


def rows(out):
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def test_a_folder_gives_every_output(tmp_path):
    for i in range(3):
        draw(tmp_path / "img" / "sub" / f"part {i} Größe.png", seed=i)
    out = tmp_path / "out"
    done = run(tmp_path / "img", "--out", out, "--threshold", "0")
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
    assert record["settings"]["threshold"] == 0
    assert "steervit" in (out / "report.html").read_text(encoding="utf-8")


def test_without_a_threshold_images_are_scored_and_not_judged(tmp_path):
    draw(tmp_path / "a.png")
    done = run(tmp_path / "a.png", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "Ranked, not judged" in done.output and "--threshold" in done.output
    assert rows(tmp_path / "out")["a.png"]["verdict"] == "unjudged"
    assert "Ranked, not judged" in json.loads((tmp_path / "out" / "run.json").read_text())["note"]


def test_exit_codes_for_scripts(tmp_path):
    draw(tmp_path / "img" / "a.png")
    common = [tmp_path / "img", "--fail-on-defect"]
    assert run(*common, "--threshold", "0", "--out", tmp_path / "bad").exit_code == exit_codes.DEFECT
    assert run(*common, "--threshold", "1e6", "--out", tmp_path / "good").exit_code == exit_codes.OK
    (tmp_path / "img" / "broken.jpg").write_bytes(b"")
    out = ["--out", tmp_path / "broken"]
    assert (
        run(*common, "--threshold", "0", *out).exit_code == exit_codes.DEFECT
    )  # not hidden by a broken file
    assert run(tmp_path / "img", "--threshold", "0", *out).exit_code == exit_codes.FAILED_IMAGES
    assert run(tmp_path / "nothing-here", "--out", tmp_path / "y").exit_code == exit_codes.USAGE


def test_fail_on_defect_never_passes_what_it_cannot_judge(tmp_path):
    draw(tmp_path / "a.png")
    done = run(tmp_path / "a.png", "--fail-on-defect", "--out", tmp_path / "out")
    assert done.exit_code == exit_codes.UNJUDGED
    assert "--threshold" in done.output and not (tmp_path / "out").exists()  # said before any work
    scales = nano(tmp_path / "a.png", "--fail-on-defect", "--scales", "1,2", "--out", tmp_path / "out")
    assert scales.exit_code == exit_codes.UNJUDGED
    assert "scales 1, not 1,2" in scales.output


@pytest.mark.parametrize(
    ("counts", "asked", "code"),
    [
        ({"defect": 1, "unjudged": 1, "unreadable": 1, "failed": 1}, True, exit_codes.DEFECT),
        ({"defect": 1, "unreadable": 1}, False, exit_codes.FAILED_IMAGES),
        ({"unjudged": 1, "unreadable": 1}, True, exit_codes.UNJUDGED),
        ({"unjudged": 1}, False, exit_codes.OK),
        ({"ok": 3, "failed": 1}, True, exit_codes.FAILED_IMAGES),
        ({"ok": 3}, True, exit_codes.OK),
    ],
)
def test_which_exit_code_wins(counts, asked, code):
    everything = dict.fromkeys(("defect", "ok", "unjudged", "unreadable", "failed"), 0) | counts
    assert _exit_code(everything, asked) == code


def test_the_shipped_threshold_is_a_starting_point_and_one_of_ones_own_is_not(tmp_path):
    draw(tmp_path / "a.png")
    shipped = nano(tmp_path / "a.png", "--out", tmp_path / "out").output
    assert shipped.startswith("Ranked, not judged on your parts") and "a starting point" in shipped
    own = nano(tmp_path / "a.png", "--threshold", "0.5", "--out", tmp_path / "own").output
    assert "Ranked" not in own and "set by the user" in own


@pytest.mark.parametrize("option", ["--threshold", "--mask-threshold"])
@pytest.mark.parametrize("value", ["95", "nan", "-0.1"])
def test_a_threshold_that_no_score_can_reach_is_refused_with_the_range(tmp_path, option, value):
    draw(tmp_path / "a.png")
    done = nano(tmp_path / "a.png", option, value, "--out", tmp_path / "out")
    assert done.exit_code == exit_codes.USAGE
    assert "from 0 to 1" in done.output and value in done.output


def test_the_threshold_leaves_the_mask_threshold_alone(tmp_path):
    draw(tmp_path / "a.png")
    settings = {}
    for name, options in (("shipped", []), ("own", ["--threshold", "0.01"])):
        nano(tmp_path / "a.png", *options, "--out", tmp_path / name)
        settings[name] = json.loads((tmp_path / name / "run.json").read_text())["settings"]
    assert settings["own"]["threshold"] == 0.01 != settings["shipped"]["threshold"]
    assert settings["own"]["mask_threshold"] == settings["shipped"]["mask_threshold"]


def test_an_output_folder_called_as_a_model_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "a.png")
    for _ in range(2):
        done = nano("a.png", "--model", "nano", "--out", "nano")
        assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_what_is_done_is_told_without_importing_a_model_library(tmp_path):
    draw(tmp_path / "a.png")
    command = [
        "inspect",
        "--object",
        "bottle",
        "--quiet",
        str(tmp_path / "a.png"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert CliRunner().invoke(main, command).exit_code == 0
    code = (
        "import atexit, sys; from anomaly.cli import main\n"
        "atexit.register(lambda: print({'timm', 'transformers'} & set(sys.modules)))\n"
        "main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_what_is_done_is_told_without_loading_a_model(tmp_path, monkeypatch):
    draw(tmp_path / "a.png")
    nano(tmp_path / "a.png", "--out", tmp_path / "out")

    def loaded(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("steervit.weights.loading.build", loaded)
    again = nano(tmp_path / "a.png", "--out", tmp_path / "out")
    assert again.exit_code == 0, again.output
    assert "1 of 1 images are done already" in again.output
    assert nano(tmp_path / "a.png", "--out", tmp_path / "other").exit_code == exit_codes.CRASH  # it would be


@pytest.mark.parametrize(("choice", "kept"), [("all", 2), ("defects", 1), ("none", 0)])
def test_what_is_saved(tmp_path, choice, kept):
    draw(tmp_path / "img" / "a.png")
    Image.new("RGB", (60, 40), (90, 90, 90)).save(tmp_path / "img" / "flat.png")
    alone = run(tmp_path / "img", "--out", tmp_path / "first")
    assert alone.exit_code == 0
    scores = sorted(float(row["score"]) for row in rows(tmp_path / "first").values())
    done = run(tmp_path / "img", "--out", tmp_path / "out", "--threshold", sum(scores) / 2, "--save", choice)
    assert done.exit_code == 0, done.output
    for folder in ("heatmaps", "masks", "overlays"):
        assert len(list((tmp_path / "out" / folder).glob("*"))) == kept, folder
    assert len(rows(tmp_path / "out")) == 2


def test_help_stands_in_sections_and_gives_defaults_as_numbers():
    said = CliRunner().invoke(main, ["inspect", "--help"]).output
    titles = ["Input and output:", "What to look for:", "Verdict:", "Model:", "Machine:", "Options:"]
    places = [said.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    words = " ".join(said.split())
    assert "the model's]" not in words
    for default in ("nano 0.3, others 0", "nano sigmoid, others softmax", "nano 0.9205", "nano 3, others 0"):
        assert f"[default: {default}" in words
    assert all(f" {code} " in words for code in (130, 70, 2, 1, 4, 3, 0))


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


@pytest.mark.slow
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
    import anomaly.runs.saving

    for i in range(3):
        draw(tmp_path / "img" / f"{i}.png", seed=i)
    real, written = anomaly.runs.saving.write_whole, []

    def full_after_ten(path, *content):
        written.append(path)
        if len(written) > 10 and path.suffix == ".tiff":
            raise OSError(28, "No space left on device", str(path))
        return real(path, *content)

    monkeypatch.setattr(anomaly.runs.saving, "write_whole", full_after_ten)
    done = run(tmp_path / "img", "--out", tmp_path / "out", "--batch-size", "1")
    assert done.exit_code == 2
    assert "space" in done.output
    assert "Traceback" not in done.output
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) >= 1


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_done(tmp_path):
    for i in range(60):
        draw(tmp_path / "img" / f"{i:02}.png", 40, 40, seed=i)
    out = tmp_path / "out"
    # The journal takes its time, so that 60 images are never done before the signal, however fast the model is.
    slow = (
        "import sys, time; from anomaly.runs.journal import Journal; append = Journal.append\n"
        "def slowly(self, *line):\n    time.sleep(0.1)\n    append(self, *line)\n"
        "Journal.append = slowly; from anomaly.cli import main; main(sys.argv[1:])"
    )
    command = [
        sys.executable, "-c", slow, "inspect", "--object", "bottle", *MODEL,
        str(tmp_path / "img"), "--out", str(out), "--batch-size", "1",
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


def test_auto_compares_many_pictures_but_never_under_a_threshold_of_pictures_alone():
    from anomaly.commands.options import is_compared

    assert is_compared("auto", 8) and not is_compared("auto", 7)
    assert not is_compared("auto", 80, alone=True)
    assert is_compared("on", 2, alone=True) and not is_compared("off", 80)


@pytest.mark.parametrize("asked", [["--threshold", "0.5"], ["--fail-on-defect"]])
def test_what_asks_for_verdicts_is_not_put_in_company(tmp_path, asked):
    for i in range(9):
        draw(tmp_path / "img" / f"{i}.png", seed=i)
    arguments = [
        "inspect",
        str(tmp_path / "img"),
        "--object",
        "bottle",
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    done = CliRunner().invoke(main, [*arguments, *asked])
    assert done.exit_code in (0, 1), done.output
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert settings["company"] is None and settings["activation"] == "sigmoid"
