"""What an enemy, or a mistake, may send to the service: refused in words, nothing lost, nothing told."""

import asyncio
import io
import socket
import struct
import threading
import time
import zipfile
import zlib

import pytest

pytest.importorskip("fastapi")

from line_service import client, picture

from anomaly.errors import SteerAnomalyError
from anomaly.line.access import COOKIE, read_token, session_of
from anomaly.line.limits import BodyLimit, Limits, Refusal
from anomaly.line.uploads import cleaned

TOKEN = "0123456789abcdef-token"
RAW = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    limits = Limits(body=200_000, pixels=10_000, pictures=3, waiting=4, answer_seconds=5)
    with client(tmp_path_factory.mktemp("hostile"), limits=limits) as made:
        yield made


def refused(answer, status, code):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code and "expected" in error["message"]
    assert "/tmp" not in answer.text and "line/photographs" not in answer.text
    return error["message"]


def left(service):
    """Files that were kept."""
    return [path for path in service.service.photographs._folder.rglob("*") if path.is_file()]


def bomb(width, height):
    """A PNG that says it is large, of few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min(width * 3 + 1, 1000) * min(height, 1000)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.png", bytes(5_000_000))
    return out.getvalue()


# Bodies ------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_not_taken(service):
    refused(service.post("/v1/inspect?object=a", content=bytes(200_001), headers=RAW), 413, "too-large")
    pieces = (bytes(50_000) for _ in range(5))  # without a length it is counted as it comes
    refused(service.post("/v1/inspect?object=a", content=pieces, headers=RAW), 413, "too-large")
    lying = RAW | {"content-length": "9" * 30}
    refused(service.post("/v1/inspect?object=a", content=b"x", headers=lying), 413, "too-large")


@pytest.mark.parametrize("size", [(20_000, 20_000), (101, 100), (2**31 - 1, 2**31 - 1)])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(service, size):
    before, began = len(left(service)), time.process_time()
    answer = service.post("/v1/inspect?object=a", content=bomb(*size), headers=RAW)
    assert answer.status_code in (413, 422) and time.process_time() - began < 2
    assert len(left(service)) == before


def test_zip_bombs_are_neither_unpacked_nor_taken_for_pictures(service):
    refused(service.post("/v1/inspect?object=a", content=archive(), headers=RAW), 422, "not-a-picture")
    packed = RAW | {"content-encoding": "gzip"}
    refused(
        service.post("/v1/inspect?object=a", content=zlib.compress(bytes(10**7)), headers=packed),
        415,
        "compressed",
    )
    text = io.BytesIO()
    from PIL import Image, PngImagePlugin

    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 50_000_000, zip=True)  # a few kB that a careless reader makes 50 MB of
    Image.new("RGB", (8, 8)).save(text, "PNG", pnginfo=notes)
    assert service.post("/v1/inspect?object=a", content=text.getvalue(), headers=RAW).status_code in (
        200,
        422,
    )


@pytest.mark.parametrize(
    "content", [b"\xff\xd8\xff\xe0 not a jpeg", b"%!PS-Adobe\n", b"<svg xmlns='x'/>", b"MZ" * 500]
)
def test_what_is_no_picture_is_said_so(service, content):
    before = len(left(service))
    refused(service.post("/v1/inspect?object=a", content=content, headers=RAW), 422, "not-a-picture")
    assert len(left(service)) == before


def test_broken_and_endless_forms(service):
    broken = {"content-type": "multipart/form-data; boundary=x"}
    refused(service.post("/v1/inspect", content=b"--x\r\nnothing", headers=broken), 400, "no-picture")
    refused(
        service.post("/v1/inspect", content=b"x", headers={"content-type": "multipart/form-data"}),
        400,
        "broken-form",
    )
    many = [("image", (f"{i}.png", picture())) for i in range(4)]
    refused(service.post("/v1/inspect/batch", files=many, data={"object": "a"}), 400, "broken-form")
    fields = {f"f{i}": "x" for i in range(50)}
    refused(service.post("/v1/inspect", files={"image": picture()}, data=fields), 400, "broken-form")
    refused(
        service.post("/v1/inspect", files={"image": picture()}, data={"object": "a" * 5000}),
        400,
        "broken-form",
    )
    refused(
        service.post("/v1/inspect?object=a", content=b"{}", headers={"content-type": "application/json"}),
        415,
        "unknown-kind",
    )
    refused(service.post("/v1/inspect?object=a", content=b"", headers=RAW), 400, "no-picture")


def test_a_body_that_comes_drop_by_drop_is_given_up():
    sent = []

    async def app(scope, receive, send):
        raise AssertionError("must not be reached")

    async def drops():
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message):
        sent.append(message)

    guard = BodyLimit(app, Limits(body_seconds=0.2))
    asyncio.run(guard({"type": "http", "method": "POST", "headers": []}, drops, send))
    assert sent[0]["status"] == 408 and (b"connection", b"close") in sent[0]["headers"]
    assert guard._held == 0


def test_bodies_at_once_are_limited_together():
    async def run():
        guard, sent = BodyLimit(app, Limits(bodies=1000)), []

        async def one():
            pieces = iter([b"x" * 400, b"x" * 300])

            async def receive():
                await asyncio.sleep(0.01)
                return {"type": "http.request", "body": next(pieces), "more_body": False}

            async def send(message):
                sent.append(message)

            await guard({"type": "http", "method": "POST", "headers": []}, receive, send)

        await asyncio.gather(*(one() for _ in range(4)))
        assert guard._held == 0
        return sent

    async def app(scope, receive, send):
        await asyncio.sleep(0.05)

    refusals = [message for message in asyncio.run(run()) if message["type"] == "http.response.start"]
    assert [message["status"] for message in refusals] == [503, 503]
    assert all((b"retry-after", b"1") in message["headers"] for message in refusals)


# Names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "/etc/passwd", "a/../b", "C:\\x", "%2e%2e", "a\x00b", "x" * 200]
)
def test_a_name_like_a_path_is_no_profile(service, name):
    answer = service.post("/v1/inspect", files={"image": picture()}, data={"profile": name})
    refused(answer, 404, "no-such-profile")


@pytest.mark.parametrize("name", ["..%2f..%2fetc", "a%2f..%2fb", ".hidden", "a%00b", "x" * 200])
def test_nothing_is_kept_under_a_name_like_a_path(service, name, tmp_path):
    answer = service.post(f"/v1/profiles/{name}/good", files={"image": picture()})
    assert answer.status_code in (404, 422) and "/tmp" not in answer.text
    assert service.service.store.drafts() == []


def test_parts_names_and_files_names_are_only_text(service):
    for name in ("", " ", "a\nb", "x" * 101):
        refused(service.post("/v1/inspect", files={"image": picture()}, data={"object": name}), 400, "object")
    answer = service.post(
        "/v1/inspect", files={"image": ("../../<script>\u202e.png", picture())}, data={"object": "a{0}"}
    )
    assert answer.status_code == 200 and answer.json()["name"] == "<script>.png"
    assert (
        cleaned("C:\\secret\\a.png") == "a.png" and cleaned("\x00") is None and len(cleaned("x" * 999)) == 120
    )
    refused(service.post("/v1/inspect", files={"image": picture()}), 400, "profile-or-object")
    both = {"profile": "p", "object": "o"}
    refused(service.post("/v1/inspect", files={"image": picture()}, data=both), 400, "profile-or-object")


@pytest.mark.parametrize(
    "path", ["/static/..%2fapp.py", "/static/../app.py", "/static/line.sqlite", "/line.sqlite"]
)
def test_no_file_but_the_pages_own_is_served(service, path):
    assert service.get(path).status_code == 404


# Who asks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)  # fmt: skip
def test_a_page_of_another_origin_can_neither_post_nor_read(service, headers):
    refused(
        service.post("/v1/inspect?object=a", content=picture(), headers=RAW | headers), 403, "other-origin"
    )
    refused(service.get("/v1/parts", headers=headers), 403, "other-origin")


def test_a_link_from_elsewhere_leads_to_the_page_and_no_further(service):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert service.get("/", headers=link).status_code == 200
    assert service.get("/v1/parts", headers=link).status_code == 403
    ours = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    assert service.post("/v1/inspect?object=a", content=picture(), headers=RAW | ours).status_code == 200


def test_a_name_that_was_made_to_point_here_is_not_ours(service):
    refused(service.get("/v1/parts", headers={"host": "evil.example"}), 421, "other-host")
    refused(service.get("/v1/parts", headers={"host": "[::1"}), 421, "other-host")


def test_pages_may_load_nothing_from_elsewhere(service):
    headers = service.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and "frame-ancestors 'none'" in policy
    assert "server" not in headers


def test_with_a_token_nothing_is_told_without_it(tmp_path):
    with client(tmp_path, token=TOKEN) as service:
        for path in ("/v1/parts", "/v1/profiles", "/metrics", "/openapi.json", "/v1/parts/1/photograph"):
            assert service.get(path).status_code == 401
            assert service.get(path, headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
            assert service.get(path, headers={"authorization": f"Basic {TOKEN}"}).status_code == 401
        assert service.post("/v1/inspect?object=a", content=picture(), headers=RAW).status_code == 401
        assert service.get("/healthz").status_code == 200
        known = {"authorization": f"Bearer {TOKEN}"}
        assert service.get("/v1/parts", headers=known).status_code == 200
        assert service.get("/v1/parts", headers={"cookie": f"{COOKIE}=wrong"}).status_code == 401


def test_a_browser_is_let_in_by_the_token_and_keeps_something_else(tmp_path):
    with client(tmp_path, token=TOKEN) as service:
        asked = service.get("/", headers={"accept": "text/html"}, follow_redirects=False)
        assert asked.status_code == 303 and asked.headers["location"] == "/login"
        assert service.post("/login", data={"token": "wrong"}).status_code == 401
        let_in = service.post("/login", data={"token": TOKEN}, follow_redirects=False)
        cookie = let_in.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        assert session_of(TOKEN) in cookie and service.get("/v1/parts").status_code == 200


def test_a_token_file_has_to_hold_a_token(tmp_path):
    path = tmp_path / "token"
    for content in ("", "short", "with blanks in the middle of it", "ümlaut" * 5):
        path.write_text(content)
        with pytest.raises(SteerAnomalyError, match="openssl rand"):
            read_token(path)
    path.write_text(f"{TOKEN}\n")
    assert read_token(path) == TOKEN
    with pytest.raises(SteerAnomalyError, match="cannot be read"):
        read_token(tmp_path / "none")


# Too much ----------------------------------------------------------------------------------------------------


def test_a_full_queue_is_said_with_a_time(service):
    inspector = service.service.shelf.inspector
    inspector.slow.clear()
    answers = []

    def ask():
        answers.append(service.post("/v1/inspect?object=a", content=picture(), headers=RAW))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for one in threads:
        one.start()
    time.sleep(0.5)
    inspector.slow.set()
    for one in threads:
        one.join()
    full = [one for one in answers if one.status_code == 429]
    assert full and all(int(one.headers["retry-after"]) >= 1 for one in full)
    assert all(one.status_code in (200, 429) for one in answers)
    assert len(left(service)) == len([one for one in service.service.store.parts(200) if one["photo"]])


def test_a_picture_that_waits_too_long_is_given_up(tmp_path):
    with client(tmp_path, limits=Limits(answer_seconds=0.1)) as service:
        service.service.shelf.inspector.slow.clear()
        answer = service.post("/v1/inspect?object=a", content=picture(), headers=RAW)
        service.service.shelf.inspector.slow.set()
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "too-late"


def test_a_disk_that_is_full_is_no_answer(service, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "/tmp/secret")

    monkeypatch.setattr("anomaly.line.uploaded.write_whole", full)
    answer = service.post("/v1/inspect?object=a", content=picture(), headers=RAW)
    assert answer.status_code == 507 and "secret" not in answer.text


def test_an_error_of_our_own_tells_nothing(service, monkeypatch):
    def broken(*_):
        raise RuntimeError("/tmp/secret")

    monkeypatch.setattr(service.service.photographs, "keep", broken)
    with pytest.raises(RuntimeError):  # the test client raises what the server only logs
        service.post("/v1/inspect?object=a", content=picture(), headers=RAW)
    said = Refusal(500, "error", "an error of the service itself").content()
    assert "secret" not in str(said)


# On the wire -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_head_that_never_ends_is_hung_up_on(tmp_path):
    import uvicorn
    from line_service import Empty

    from anomaly.line.app import application
    from anomaly.line.service import Service
    from anomaly.line.serving import _impatient

    limits = Limits(head_seconds=0.3)
    application_ = application(Service(Empty(tmp_path), tmp_path / "line", limits), None, ("127.0.0.1",))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application_, http=_impatient(limits), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with socket.create_connection(listening.getsockname(), timeout=5) as slow:
            slow.sendall(b"POST /v1/inspect HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            assert slow.recv(100) == b""
        with socket.create_connection(listening.getsockname(), timeout=5) as quick:
            quick.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in quick.recv(1000)
    finally:
        server.should_exit = True
        thread.join(10)
