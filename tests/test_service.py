"""The service around a verdict: sinks hear of it before the answer, and nothing is left behind by a kill."""

import sqlite3
from concurrent.futures import Future

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from line_service import Empty, picture

from anomaly.errors import SteerAnomalyError
from anomaly.line.app import application
from anomaly.line.limits import Limits
from anomaly.line.service import Service


class Kept:
    def __init__(self):
        self.messages, self.closed = [], False

    def send(self, verdict):
        self.messages.append(verdict)

    def close(self):
        self.closed = True


def test_sinks_have_every_part_before_its_answer_and_once(tmp_path):
    sinks = Kept()
    service = Service(Empty(tmp_path), tmp_path / "line", Limits(), sinks=sinks)
    with TestClient(application(service, None, ("testserver",))) as client:
        for level in (40, 200):
            files = {"image": ("a.png", picture(level))}
            answer = client.post("/v1/inspect", files=files, data={"object": "part"}).json()
            last = sinks.messages[-1]
            assert (last["verdict"], last["score"], last["file"]) == (
                answer["verdict"],
                answer["score"],
                "a.png",
            )
            assert last["source"] == "serve" and last["schema"] == 1 and last["time"] == answer["received"]
        refused = client.post("/v1/inspect", files={"image": b"none"}, data={"object": "part"})
        assert refused.status_code == 422
    assert [one["verdict"] for one in sinks.messages] == ["ok", "defect"] and sinks.closed
    assert len({one["id"] for one in sinks.messages}) == 2 and sinks.messages[1]["regions"][0]["area"] == 4


def test_a_message_that_cannot_be_kept_is_no_answer(tmp_path):
    class Full(Kept):
        def send(self, verdict):
            raise SteerAnomalyError(f"cannot keep a verdict in {tmp_path}: database or disk is full")

    service = Service(Empty(tmp_path), tmp_path / "line", Limits(), sinks=Full())
    with TestClient(application(service, None, ("testserver",))) as client:
        answer = client.post("/v1/inspect", files={"image": picture()}, data={"object": "part"})
        assert answer.status_code == 507 and str(tmp_path) not in answer.text


def test_what_cannot_be_written_is_said_so_wherever_it_happens(tmp_path, monkeypatch):
    service = Service(Empty(tmp_path), tmp_path / "line", Limits())
    with TestClient(application(service, None, ("testserver",))) as client:
        client.post("/v1/inspect", files={"image": picture(200)}, data={"object": "part"})

        def full(*_):
            raise OSError(28, "No space left on device", str(tmp_path))

        monkeypatch.setattr(service.photographs, "keep", full)
        good = client.post("/v1/profiles/new/good", files={"image": picture(60)})
        monkeypatch.setattr(
            service.store, "tell", lambda *_: failed(sqlite3.OperationalError("disk is full"))
        )
        said = client.post("/v1/profiles/-/feedback", json={"part": 1, "was": "good"})
        for answer in (good, said):
            assert answer.status_code == 507 and answer.json()["error"]["code"] == "not-kept"
            assert str(tmp_path) not in answer.text


def failed(error):
    found = Future()
    found.set_exception(error)
    return found


def test_a_black_picture_is_not_ok(tmp_path):
    service = Service(Empty(tmp_path), tmp_path / "line", Limits())
    with TestClient(application(service, None, ("testserver",))) as client:
        answer = client.post("/v1/inspect", files={"image": picture(4)}, data={"object": "part"})
        assert answer.status_code == 422 and "look at the lamp" in answer.json()["error"]["message"]
        assert client.get("/v1/parts").json()["parts"] == []


def test_photographs_that_a_kill_left_behind_are_removed_and_no_others(tmp_path):
    service = Service(Empty(tmp_path), tmp_path / "line", Limits())
    with TestClient(application(service, None, ("testserver",))) as client:
        client.post("/v1/inspect", files={"image": picture()}, data={"object": "part"})
        client.post("/v1/profiles/new/good", files={"image": picture(60)})
        service.photographs.keep(picture(80))  # and then it was killed
    again = Service(Empty(tmp_path), tmp_path / "line", Limits())
    try:
        left = [path for path in (tmp_path / "line" / "photographs").rglob("*") if path.is_file()]
        assert len(left) == 2
        assert again.photographs.read(again.store.part(1)["photo"]).shape == (16, 16, 3)
    finally:
        again.stop()


def test_of_old_parts_the_verdict_is_left_and_photograph_and_maps_are_not(tmp_path):
    service = Service(Empty(tmp_path), tmp_path / "line", Limits(), keep=1)
    with TestClient(application(service, None, ("testserver",))) as client:
        for level in (40, 50):
            client.post("/v1/inspect", files={"image": picture(level)}, data={"object": "part"})
        service.photographs.remove(service.store.forget_photos(1))
        old, new = client.get("/v1/parts/1").json(), client.get("/v1/parts/2").json()
        assert old["verdict"] == "ok" and not old["has_photo"] and list(old["links"]) == ["part"]
        assert (
            client.get("/v1/parts/1/heat").status_code
            == client.get("/v1/parts/1/photograph").status_code
            == 404
        )
        assert all(client.get(new["links"][kind]).status_code == 200 for kind in ("heat", "photograph"))
        assert client.get("/parts/1").status_code == 200 and client.get("/parts/9").status_code == 404
