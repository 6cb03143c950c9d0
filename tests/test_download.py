import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.testsets.fetch import download
from anomaly.testsets.unpack import unpack

BODY = bytes(range(256)) * 9000  # 2.3 MB: three blocks
SHA = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """A local server that knows Range, and can break off after `breaks_at` bytes of an answer."""

    daemon_threads = True
    breaks_at: int | None = None
    knows_range = True
    etag = '"one"'

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.server.knows_range else 0
        if self.headers.get("If-Range", self.server.etag) != self.server.etag:
            start = 0
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(BODY[start : self.server.breaks_at])


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_fetches_verifies_and_reports_progress(server, tmp_path):
    seen = []
    path = download(
        server.url, tmp_path / "deep/set.tar", SHA, lambda done, total: seen.append((done, total))
    )
    assert path.read_bytes() == BODY
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert [p.name for p in path.parent.iterdir()] == ["set.tar"]
    download(server.url, path, SHA)
    assert len(server.ranges) == 1  # the second call finds the file


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.breaks_at = 1_500_000
    with pytest.raises(SteerAnomalyError, match=r"1,500,000 bytes are kept in .*set.tar.part"):
        download(server.url, tmp_path / "set.tar", SHA)
    server.breaks_at = None
    assert download(server.url, tmp_path / "set.tar", SHA).read_bytes() == BODY
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_file_changed_in_between_is_fetched_from_the_start(server, tmp_path):
    (tmp_path / "set.tar.part").write_bytes(b"old" * 1000)
    (tmp_path / "set.tar.part.etag").write_text('"zero"')
    assert download(server.url, tmp_path / "set.tar", SHA).read_bytes() == BODY


@pytest.mark.parametrize("have", [len(BODY), len(BODY) + 7])
def test_a_complete_or_too_long_part(server, tmp_path, have):
    (tmp_path / "set.tar.part").write_bytes((BODY + b"garbage")[:have])
    assert download(server.url, tmp_path / "set.tar", SHA).read_bytes() == BODY


def test_a_server_without_range_sends_all_again(server, tmp_path):
    server.knows_range = False
    (tmp_path / "set.tar.part").write_bytes(b"x" * 10)
    assert download(server.url, tmp_path / "set.tar", SHA).read_bytes() == BODY


def test_a_wrong_hash_removes_the_file_and_says_both_hashes(server, tmp_path):
    with pytest.raises(SteerAnomalyError, match=f"{'0' * 64}.*{SHA}.*fetch the file by hand"):
        download(server.url, tmp_path / "set.tar", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path):
    with pytest.raises(SteerAnomalyError, match="the download stopped"):
        download("http://127.0.0.1:9/x.tar", tmp_path / "x.tar", None)


def tar_with(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content, extra in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in extra.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_unpacks_a_tar_and_a_zip_over_what_is_there(tmp_path):
    tar_with(tmp_path / "a.tar.gz", ("cat/x.png", b"1", {}), ("cat/y.png", b"2", {}))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as bundle:
        bundle.writestr("cat/y.png", b"3")
        bundle.writestr("dog/z.png", b"4")
    root = tmp_path / "root"
    seen = []
    unpack(tmp_path / "a.tar.gz", root, seen.append)
    unpack(tmp_path / "b.zip", root)
    assert seen == ["cat/x.png", "cat/y.png"]
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert files == {"cat/x.png": b"1", "cat/y.png": b"3", "dog/z.png": b"4"}


BAD_MEMBERS = {
    "parent": ("../evil.png", b"x", {}),
    "deep parent": ("cat/../../evil.png", b"x", {}),
    "absolute": ("/tmp/evil.png", b"x", {}),
    "windows": ("C:\\evil.png", b"x", {}),
    "backslashes": ("..\\evil.png", b"x", {}),
    "symlink": ("cat/link", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
    "hard link": ("cat/link", b"", {"type": tarfile.LNKTYPE, "linkname": "../../x"}),
    "device": ("cat/null", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
}


@pytest.mark.parametrize("member", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_a_tar_that_reaches_out_is_refused_whole(tmp_path, member):
    archive = tar_with(tmp_path / "evil.tar.gz", ("good.png", b"1", {}), member)
    root = tmp_path / "root"
    with pytest.raises(SteerAnomalyError, match="nothing was unpacked"):
        unpack(archive, root)
    assert list(root.iterdir()) == [] and {p.name for p in tmp_path.iterdir()} == {"evil.tar.gz", "root"}


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png"])
def test_a_zip_that_reaches_out_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as bundle:
        bundle.writestr(name, b"x")
    with pytest.raises(SteerAnomalyError, match="leads out of the folder"):
        unpack(tmp_path / "evil.zip", tmp_path / "root")


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as bundle:
        bundle.writestr(link, "/etc")
    with pytest.raises(SteerAnomalyError, match="is a link"):
        unpack(tmp_path / "evil.zip", tmp_path / "root")


@pytest.mark.parametrize("content", [b"", b"not an archive at all"])
def test_a_damaged_archive_is_named(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(SteerAnomalyError, match=r"x\.tar: cannot unpack"):
        unpack(tmp_path / "x.tar", tmp_path / "root")
