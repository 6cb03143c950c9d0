"""`steer-anomaly serve` with a model: the answers of `inspect`, profiles that learn, and a process that is killed."""

import base64
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

from click.testing import CliRunner
from drawn_parts import plates
from line_service import client

from anomaly.cli import main
from anomaly.decision import profile_file
from anomaly.inspector import Inspector
from anomaly.line.shelf import Shelf
from anomaly.line.store import opened
from anomaly.pictures.maps import read_map

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def run(*arguments):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Good plates, dented ones, and a profile of eight good ones."""
    folder = tmp_path_factory.mktemp("plates")
    plates(folder / "good", range(5))
    plates(folder / "test", range(100, 102))
    plates(folder / "test", range(200, 201), defect=True)
    run(
        "calibrate",
        "--object",
        "plate",
        "--quiet",
        "--references",
        2,
        "--out",
        folder / "plate.profile",
        folder / "good",
    )
    return folder


@pytest.fixture(scope="module")
def service(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    (folder / "plate.profile").write_bytes((parts / "plate.profile").read_bytes())
    with pytest.MonkeyPatch.context() as patch, client(folder, shelf=Shelf(folder)) as made:
        patch.setattr("anomaly.line.learning.LAST", 2)
        wait(lambda: made.get("/readyz").status_code == 200)
        yield made


def wait(done, seconds=180):
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def proposal(service, name):
    wait(lambda: service.get(f"/v1/profiles/{name}").json()["proposal"]["state"] != "working")
    return service.get(f"/v1/profiles/{name}").json()["proposal"]


def sent(path):
    return ("image", (path.name, path.read_bytes()))


def test_answers_are_those_of_inspect_to_the_bit_whoever_asks_beside(service, parts, tmp_path):
    run("inspect", "--profile", parts / "plate.profile", parts / "test", "--out", tmp_path, "--quiet")
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    rows = {Path(row["path"]).name: row for row in rows if "path" in row}
    files = sorted((parts / "test").iterdir())
    choice = {"profile": "plate", "maps": "inline"}

    def ask(path):
        return service.post("/v1/inspect", files=[sent(path)], data=choice).json()

    with ThreadPoolExecutor(3) as pool:  # together, so that they share batches
        answers = list(pool.map(ask, files))
    batch = service.post("/v1/inspect/batch", files=[sent(path) for path in files], data=choice).json()[
        "results"
    ]
    for found in (answers, batch):
        for path, answer in zip(files, found, strict=True):
            row = rows[path.name]
            assert answer["name"] == path.name and answer["version"] == 1
            for name in ("score", "verdict", "threshold", "p_value", "spreads"):
                assert answer[name] == row[name]
            (tmp_path / "map.tiff").write_bytes(base64.b64decode(answer["maps"]["heatmap_tiff"]))
            assert np.array_equal(read_map(tmp_path / "map.tiff"), read_map(tmp_path / row["heatmap"]))
            assert answer["regions"] == [
                region | {"box_xyxy": list(region["box_xyxy"])} for region in row["regions"]
            ]
    assert {answer["verdict"] for answer in answers} == {"ok", "defect"}


def test_side_by_side_on_several_cores_nobody_gets_anothers_answer(parts, tmp_path):
    (tmp_path / "plate.profile").write_bytes((parts / "plate.profile").read_bytes())
    inspector = Inspector.from_profile(profile_file.load(tmp_path / "plate.profile"))
    files = [*sorted((parts / "test").iterdir()), *sorted((parts / "good").iterdir())]
    known = {path.name: inspector.inspect(path, "plate") for path in files}
    scores = sorted(found.score for found in known.values())
    assert min(b / a for a, b in pairwise(scores)) > 1.0001  # none can be taken for another's
    with client(tmp_path, shelf=Shelf(tmp_path), cores=2) as made:
        wait(lambda: made.get("/readyz").status_code == 200)

        def ask(path):
            return made.post("/v1/inspect", files=[sent(path)], data={"profile": "plate"}).json()

        alone = ask(files[0])
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, 2 * files))
        for answer in [alone, *answers]:
            own = known[answer["name"]]
            assert answer["score"] == pytest.approx(own.score, rel=1e-5)  # 2e-6 by the number of threads
            assert answer["verdict"] == own.verdict and len(answer["regions"]) == len(own.regions)
            assert made.get(f"/v1/parts/{answer['id']}").json()["score"] == answer["score"]
        assert sorted(one["name"] for one in answers) == sorted(path.name for path in 2 * files)
        assert len({one["id"] for one in answers}) == len(answers)


def test_a_raw_body_and_a_name_alone_do(service, parts):
    path = parts / "test" / "200.png"
    kind = {"content-type": "image/png"}
    answer = service.post(
        "/v1/inspect?profile=plate&name=x.png", content=path.read_bytes(), headers=kind
    ).json()
    assert answer["profile"] == "plate" and answer["name"] == "x.png" and answer["evidence"]["references"] > 0
    alone = service.post("/v1/inspect", files=[sent(path)], data={"object": "plate"}).json()
    assert alone["profile"] is None and alone["p_value"] is None and alone["score"] != answer["score"]
    broken = service.post(
        "/v1/inspect/batch", files=[sent(path), ("image", ("x.png", b"none"))], data={"object": "plate"}
    )
    first, second = broken.json()["results"]
    assert first["score"] == alone["score"] and second["error"]["code"] == "not-a-picture"


def test_what_the_page_shows_of_a_part_is_there(service, parts):
    for name in ("100.png", "200.png"):
        service.post("/v1/inspect", files=[sent(parts / "test" / name)], data={"profile": "plate"})
    found = service.get("/v1/parts?profile=plate").json()
    number = found["parts"][0]["id"]
    assert found["drift"]["plate"]["followed"] + found["drift"]["plate"]["set_aside"] > 0
    for kind, media in (("photograph?size=small", "jpeg"), ("heat", "webp"), ("evidence/references", "jpeg")):
        answer = service.get(f"/v1/parts/{number}/{kind}")
        assert answer.status_code == 200 and answer.headers["content-type"] == f"image/{media}"
    assert service.get(f"/v1/parts/{number}/evidence/none").status_code == 404
    near = service.get(f"/v1/parts/{number}/neighbour").json()
    assert service.get(near["picture"]).status_code == 200
    metrics = service.get("/metrics").text
    assert 'steer_anomaly_verdicts_total{profile="plate",verdict="defect"}' in metrics
    assert "steer_anomaly_answer_seconds_bucket" in metrics and "steer_anomaly_drift_evidence" in metrics
    described = service.get("/openapi.json").json()
    assert described["components"]["schemas"]["Answer"]["examples"]
    assert (
        "image"
        in described["paths"]["/v1/inspect"]["post"]["requestBody"]["content"]["multipart/form-data"][
            "schema"
        ]["properties"]
    )


def test_a_profile_that_is_made_on_the_page_is_that_of_calibrate(service, parts, tmp_path):
    files = sorted((parts / "good").iterdir())
    added = service.post("/v1/profiles/made/good", files=[sent(path) for path in files[:3]]).json()
    assert added["added"] == 3 and added["known"] == 0
    added = service.post(
        "/v1/profiles/made/good", files=[sent(path) for path in files[2:]] + [("image", ("x", b"x"))]
    )
    assert (added.json()["added"], added.json()["known"], len(added.json()["unusable"])) == (2, 1, 1)
    service.post("/v1/profiles/made/proposal", json={"object": "plate"})
    proposed = proposal(service, "made")
    assert proposed["state"] == "ready", proposed
    assert service.get("/v1/profiles/made").json()["version"] is None  # nothing judges before it is applied
    service.post("/v1/profiles/made/apply", json={"proposal": proposed["id"]})
    run("calibrate", "--object", "plate", "--quiet", "--out", tmp_path / "p", parts / "good")
    ours = profile_file.load(service.service.shelf.folder / "made.profile")
    assert ours.digest == profile_file.load(tmp_path / "p").digest
    again = service.post("/v1/profiles/made/apply", json={"proposal": proposed["id"]})
    assert (
        again.status_code == 422 and "expected a proposal that is ready" in again.json()["error"]["message"]
    )
    too_few = service.post("/v1/profiles/made/proposal", json={"false_alarms": 0.001})
    assert too_few.status_code == 202
    assert "needs 2995 good parts" in proposal(service, "made")["message"]


def test_a_false_alarm_becomes_a_version_that_was_shown_before_and_can_be_taken_back(service, parts):
    false = service.post(
        "/v1/inspect", files=[sent(parts / "test" / "200.png")], data={"profile": "plate"}
    ).json()
    assert false["verdict"] == "defect"
    said = service.post(
        "/v1/profiles/plate/feedback", json={"part": false["id"], "was": "good", "note": "a shadow"}
    ).json()
    assert "false alarm" in said["said"]
    proposed = proposal(service, "plate")
    assert (
        proposed["state"] == "ready"
        and proposed["parts"] == 4
        and "added to the calibration" in proposed["how"]
    )
    assert {"before": "defect", "after": "ok"}.items() <= next(
        c for c in proposed["changes"] if c["part"] == false["id"]
    ).items()
    path = "/v1/profiles/plate"
    service.post(f"{path}/feedback", json={"part": false["id"], "was": "defect"})  # no, it was one after all
    refused = service.post(f"{path}/apply", json={"proposal": proposed["id"]})
    assert refused.status_code == 422 and "taken out" in refused.json()["error"]["message"]
    service.post(f"{path}/feedback", json={"part": false["id"], "was": "good"})
    proposed = proposal(service, "plate")
    assert service.get("/v1/profiles/plate").json()["version"] == 1
    service.post("/v1/profiles/plate/apply", json={"proposal": proposed["id"]})
    again = service.post(
        "/v1/inspect", files=[sent(parts / "test" / "200.png")], data={"profile": "plate"}
    ).json()
    assert (again["verdict"], again["version"], again["score"]) == ("ok", 2, false["score"])
    said = service.post(f"{path}/feedback", json={"part": false["id"], "was": "defect"}).json()["said"]
    assert "Version 2 has it among its good parts: go back" in said
    service.post(f"{path}/feedback", json={"part": false["id"], "was": "good"})
    known = service.get("/v1/profiles/plate").json()
    assert (
        known["false_alarms"] == [false["id"]]
        and known["versions"][0]["reason"] == f"part {false['id']} was good"
    )
    back = service.post("/v1/profiles/plate/back", json={"version": 1, "reason": "it was dented"}).json()
    assert back["number"] == 3 and back["reason"] == "back to version 1: it was dented"
    last = service.post(
        "/v1/inspect", files=[sent(parts / "test" / "200.png")], data={"profile": "plate"}
    ).json()
    assert (last["verdict"], last["version"], last["threshold"]) == ("defect", 3, false["threshold"])
    output = run("profile", "history", service.service.shelf.folder / "plate.profile")
    assert "back to version 1: it was dented  <- judges" in output and "as it was found" in output


def test_a_defect_is_recorded_and_a_good_part_judged_ok_does_not_calibrate(service, parts):
    ok = service.post(
        "/v1/inspect", files=[sent(parts / "test" / "100.png")], data={"profile": "plate"}
    ).json()
    assert ok["verdict"] == "ok"
    before = service.get("/v1/profiles/plate").json()
    said = service.post("/v1/profiles/plate/feedback", json={"part": ok["id"], "was": "good"}).json()["said"]
    assert "does not calibrate" in said
    said = service.post("/v1/profiles/plate/feedback", json={"part": ok["id"], "was": "defect"}).json()[
        "said"
    ]
    assert "record of misses" in said
    after = service.get("/v1/profiles/plate").json()
    assert (
        after["misses"] == [ok["id"]]
        and after["pictures"] == before["pictures"]
        and after["version"] == before["version"]
    )
    other = service.post("/v1/profiles/made/feedback", json={"part": ok["id"], "was": "good"})
    assert other.status_code == 404
    assert (
        service.post("/v1/profiles/plate/feedback", json={"part": ok["id"], "was": "ugly"}).status_code == 422
    )


def test_with_all_its_pictures_a_profile_is_calibrated_anew_by_the_split_rule(service, parts):
    files = sorted((parts / "good").iterdir())
    service.post("/v1/profiles/plate/good", files=[sent(path) for path in files])
    service.post("/v1/profiles/plate/proposal", json={})
    proposed = proposal(service, "plate")
    assert proposed["state"] == "ready" and "split rule" in proposed["how"], proposed
    assert proposed["misses"] is not None  # the known defect was looked at, too


def test_a_profile_changed_on_the_disk_judges_at_once_and_a_broken_one_hides_no_other(
    service, parts, tmp_path
):
    folder = service.service.shelf.folder
    (folder / "other.profile").write_bytes((parts / "plate.profile").read_bytes())
    path = parts / "test" / "100.png"
    assert service.post("/v1/inspect", files=[sent(path)], data={"profile": "other"}).json()["version"] == 1
    (folder / "other.profile").write_bytes((folder / "made.profile").read_bytes())
    assert service.post("/v1/inspect", files=[sent(path)], data={"profile": "other"}).json()["version"] == 2
    (folder / "other.profile").write_bytes(b"PK broken")
    answer = service.post("/v1/inspect", files=[sent(path)], data={"profile": "other"})
    assert answer.status_code == 409 and str(folder) not in answer.text
    listed = {one["name"]: one for one in service.get("/v1/profiles").json()["profiles"]}
    assert "broken" in listed["other"] and listed["plate"]["version"] >= 3
    assert service.get("/v1/parts").status_code == 200


# The process -------------------------------------------------------------------------------------------------


class Process:
    """`steer-anomaly serve` as a plant runs it."""

    def __init__(self, profiles, *more):
        command = [
            sys.executable,
            "-m",
            "anomaly.cli",
            "serve",
            "--profiles",
            str(profiles),
            "--port",
            "0",
            *more,
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://\S+?:\d+", self.process.stdout.readline()).group()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(60)
        self.process.stdout.close()

    def is_ready(self):
        import httpx

        try:
            return httpx.get(f"{self.address}/readyz", timeout=60).status_code == 200
        except httpx.HTTPError:  # not yet
            return False

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(120)


def documented(language):
    return re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(encoding="utf-8"), re.S
    )


def test_killed_it_keeps_what_was_answered_and_stopped_it_finishes_what_it_has(parts, tmp_path):
    httpx = pytest.importorskip("httpx")
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "flange.profile").write_bytes((parts / "plate.profile").read_bytes())
    files, told, codes = sorted((parts / "test").iterdir()), [], []
    choice = {"profile": "flange"}

    def ask(address, path):
        try:
            answer = httpx.post(f"{address}/v1/inspect", files=[sent(path)], data=choice, timeout=180)
        except httpx.HTTPError:
            return
        codes.append(answer.status_code)
        if answer.status_code == 200:
            told.append(answer.json()["id"])

    with Process(profiles) as running:
        wait(running.is_ready)
        threads = [threading.Thread(target=ask, args=(running.address, files[i % 3])) for i in range(6)]
        for one in threads:
            one.start()
        wait(lambda: len(told) >= 3)
        running.end(signal.SIGKILL)
        for one in threads:
            one.join()
    with opened(profiles / "line") as store:
        assert set(told) <= {one["id"] for one in store.parts(limit=1000)}
    before, asked = len(told), 3
    with Process(profiles) as running:
        wait(running.is_ready)
        client_and_curl(running.address, tmp_path)
        threads = [threading.Thread(target=ask, args=(running.address, files[i % 3])) for i in range(asked)]
        for one in threads:
            one.start()
        wait(lambda: len(told) > before)  # all of them have been taken by now
        assert running.end(signal.SIGTERM) == 0
        for one in threads:
            one.join()
    assert len(told) == before + asked


def client_and_curl(address, folder):
    """The client and the lines of docs/serve.md, as they stand there."""
    (source,) = documented("python")
    (folder / "documented.py").write_text(source, encoding="utf-8")
    made = runpy.run_path(str(folder / "documented.py"), run_name="documented")
    line = made["Line"](address)
    found = line.inspect(ROOT / "docs" / "samples" / "flanges" / "test" / "good-01.jpg", "flange")
    assert found.verdict in ("ok", "defect", "unfit") and "Kept" in line.tell("flange", found.id, "defect")
    line._http.close()
    lines = [one for block in documented("") for one in block.splitlines() if one.startswith("curl ")]
    assert len(lines) == 3
    for one in lines:
        command = shlex.split(one.replace("http://127.0.0.1:8000", address))
        done = subprocess.run(
            [*command, "-s", "--fail"], cwd=ROOT, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr
        assert "verdict" in done.stdout
