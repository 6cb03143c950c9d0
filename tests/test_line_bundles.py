"""Lines that run a bundle: `watch`, `camera` and `serve` judge with it as with the model that it was exported from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openvino")

from click.testing import CliRunner
from line_service import client

from anomaly.bundle import parity
from anomaly.cli import main
from anomaly.line.shelf import Shelf

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {"--trunk": GOLDEN / "trunk.safetensors", "--text-encoder": GOLDEN / "tiny-roberta"}
MODEL = ["--model", GOLDEN / "steervit.pth", *(word for pair in FILES.items() for word in pair)]
WITHOUT_TORCH = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "transformers", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
from anomaly.cli import main
main(prog_name="steer-anomaly")
"""


def plate(seed, scratched=False):
    """A grainy plate, perhaps with a dark scratch."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:150, :190]
    image = 150 + 25 * np.sin(x / 9) + 15 * np.cos(y / 7) + random.normal(0, 6, (150, 190))
    if scratched:
        image[60:64, 40:150] = 30
    return np.repeat(image[..., None], 3, 2).clip(0, 255).astype(np.uint8)


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)))


def done(*words):
    found = run(*words)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Good plates and others, a profile of a tiny DINOv2, and the bundle that was exported with it."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, seeds in (("good", range(6)), ("new", range(50, 52))):
        (folder / name).mkdir()
        for seed in seeds:
            cv2.imwrite(str(folder / name / f"{seed}.png"), plate(seed, seed == 51))
    profile, bundle = folder / "plate.profile", folder / "bundle"
    done("calibrate", "--object", "plate", *MODEL, "--references", 2, "--best-effort", "--quiet", "--out", profile,
         folder / "good")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "FEWEST", 2)
        patch.setattr(parity, "SAME", 1e-2)  # random weights: z-scores magnify their rounding
        done("export", "--profile", profile, *MODEL, "--format", "openvino", "--out", bundle)
    return folder


def rows(out):
    found = [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]
    return {Path(row["path"]).name: row for row in found}


def test_watch_judges_by_a_bundle_alone_and_by_the_profile_it_was_made_with(made, tmp_path):
    done("watch", made / "new", "--profile", made / "plate.profile", *MODEL, "--once", "--out", tmp_path / "model",
         "--quiet")  # fmt: skip
    known = rows(tmp_path / "model")
    ways = {"alone": [], "with": ["--profile", made / "plate.profile"], "named": ["--object", "plate"]}
    for name, words in ways.items():
        done(
            "watch",
            made / "new",
            "--model",
            made / "bundle",
            *words,
            "--once",
            "--out",
            tmp_path / name,
            "--quiet",
        )
        found = rows(tmp_path / name)
        assert {key: row["verdict"] for key, row in found.items()} == {
            key: row["verdict"] for key, row in known.items()
        }
        for key, row in found.items():
            assert row["score"] == pytest.approx(known[key]["score"], rel=1e-3)
            assert row["p_value"] == known[key]["p_value"] and row["object"] == "plate"
        assert (tmp_path / name / "drift.json").is_file()  # its profile is followed


def test_what_a_bundle_cannot_do_is_said(made, tmp_path):
    refused = run(
        "watch", made / "new", "--model", made / "bundle", "--object", "bottle", "--once", "--out", tmp_path
    )
    assert refused.exit_code == 2 and "'plate'" in refused.output and "another bundle" in refused.output
    other = tmp_path / "other.profile"
    done("calibrate", "--object", "plate", "--references", "none", "--best-effort", "--quiet", "--out", other,
         *MODEL, made / "good")  # fmt: skip
    refused = run(
        "watch", made / "new", "--model", made / "bundle", "--profile", other, "--once", "--out", tmp_path
    )
    assert refused.exit_code == 2 and "fixed in a bundle" in refused.output


def test_a_camera_judges_by_a_bundle_and_its_gate(made, tmp_path):
    film = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (190, 150))
    film.write(plate(50) // 5)  # in the dark
    film.release()
    for words, verdicts in (([], {"unfit"}), (["--no-gate"], {"ok", "defect"})):
        out = tmp_path / f"out{len(words)}"
        found = run("camera", tmp_path / "a.avi", "--model", made / "bundle", *words, "--out", out)
        assert "1 pictures judged" in found.output, found.output
        (row,) = rows(out).values()
        assert row["object"] == "plate" and row["score"] is not None and row["verdict"] in verdicts


def test_serve_judges_its_profile_by_the_bundle_and_learns_with_it(made, tmp_path):
    (tmp_path / "plate.profile").write_bytes((made / "plate.profile").read_bytes())
    shelf = Shelf(tmp_path, model=str(made / "bundle"))
    ready = shelf.ready("plate")
    assert ready.inspector.bundle is not None
    with client(tmp_path, shelf=shelf, cores=2) as service:
        answers = [inspected(service, made / "new" / name, profile="plate") for name in ("50.png", "51.png")]
        named = inspected(service, made / "new" / "50.png", object="plate")
        assert named["score"] == answers[0]["score"] and named["p_value"] == answers[0]["p_value"]
        expected = ready.inspector.inspect(made / "new" / "50.png", "plate")
        assert answers[0]["score"] == pytest.approx(expected.score, rel=1e-5)
        refused = service.post(
            "/v1/inspect", files=[sent(made / "new" / "50.png")], data={"object": "bottle"}
        )
        assert refused.status_code == 422 and "'plate'" in refused.json()["error"]["message"]
        service.post("/v1/profiles/plate/good", files=[sent(made / "new" / "50.png")])
        service.post("/v1/profiles/plate/proposal", json={"best_effort": True})
        proposed = settled(service, "plate")
        assert proposed["state"] == "ready" and "added to the calibration" in proposed["how"], proposed
        service.post(
            "/v1/profiles/first/good", files=[sent(path) for path in sorted((made / "good").iterdir())]
        )
        service.post("/v1/profiles/first/proposal", json={"object": "plate"})
        assert "whose settings are fixed" in settled(service, "first")["message"]


def test_a_service_of_a_bundle_needs_no_torch_and_is_ready_without_profiles(made, tmp_path):
    httpx = pytest.importorskip("httpx")
    words = ["serve", "--profiles", tmp_path, "--model", made / "bundle", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().split()[2].rstrip("/")
        until = time.monotonic() + 60
        while httpx.get(f"{address}/readyz", timeout=60).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        answer = httpx.post(
            f"{address}/v1/inspect",
            files=[sent(made / "new" / "51.png")],
            data={"object": "plate"},
            timeout=60,
        )
        assert answer.status_code == 200 and answer.json()["p_value"] is not None
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


def sent(path):
    return ("image", (path.name, path.read_bytes()))


def inspected(service, path, **choice):
    answer = service.post("/v1/inspect", files=[sent(path)], data=choice)
    assert answer.status_code == 200, answer.text
    return answer.json()


def settled(service, name):
    until = time.monotonic() + 120
    while (found := service.get(f"/v1/profiles/{name}").json()["proposal"])["state"] == "working":
        assert time.monotonic() < until
        time.sleep(0.05)
    return found
