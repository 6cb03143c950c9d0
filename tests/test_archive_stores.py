"""Archives in an object store: an S3 server in this process that is busy, and loses objects."""

import socket

import pytest
from drawn_archive import HASH, draw, examiner

from anomaly.archive import lance_copy, local_engine, places
from anomaly.archive.entries import entries_of
from anomaly.archive.manifest import write_manifest
from anomaly.archive.places import Place
from anomaly.archive.reading import read_picture
from anomaly.archive.worst import worst_rows
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import read_image

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Busy:
    """In front of a server: every sixth request is told to slow down."""

    def __init__(self, application):
        self.application, self.asked, self.on = application, 0, False

    def __call__(self, environ, start_response):
        self.asked += 1
        if self.on and self.asked % 6 == 0:
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [
                b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            ]
        return self.application(environ, start_response)


@pytest.fixture(scope="module")
def store():
    import threading

    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    busy = Busy(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, busy, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setattr(places, "FIRST_WAIT", 0.01)
        client = boto3.client("s3")
        client.create_bucket(Bucket="plant")
        yield busy, client
    server.shutdown()
    thread.join()


def test_an_archive_in_a_busy_store_that_loses_objects(store, tmp_path):
    busy, client = store
    paths = draw(tmp_path, 9)
    for path in paths:
        client.upload_file(str(path), "plant", f"2026/{path.name}")
    client.put_object(Bucket="plant", Key="2026/notes.txt", Body=b"no image")
    busy.on = True
    found = list(entries_of(["s3://plant/2026/"]))
    assert [one.path for one in found] == [f"s3://plant/2026/{path.name}" for path in paths]
    assert found[0].version == client.head_object(Bucket="plant", Key="2026/0000.png")["ETag"].strip('"')
    assert (read_picture(found[3]).image == read_image(paths[3])).all()
    place = Place("s3://plant/table")
    manifest = write_manifest(place, found, ("s3://plant/2026/",), True)
    client.delete_object(Bucket="plant", Key="2026/0007.png")
    counts = local_engine.run(place, manifest, examiner, 2)
    assert counts["unreadable"] == 1 and sum(counts.values()) == 9
    assert local_engine.run(place, manifest, examiner, 1) == counts
    assert [row["settings_hash"] for row in worst_rows(place, 3)] == [HASH] * 3
    busy.on = False
    lance = pytest.importorskip("lance")
    for _ in range(2):
        assert lance_copy.copy(place, manifest) == {"images": 8, "errors": 1}
    opened = lance.dataset(place.full("images.lance"), storage_options=lance_copy._options(place))
    assert (opened.count_rows(), opened.version) == (8, 1)


def test_globs_and_tables_of_a_store(store, tmp_path):
    _, client = store
    (path,) = draw(tmp_path, 1)
    client.upload_file(str(path), "plant", "few/a.png")
    assert [one.path for one in entries_of(["s3://plant/few/*.png"])] == ["s3://plant/few/a.png"]
    client.put_object(Bucket="plant", Key="few/deep/", Body=b"")  # as consoles make folders
    client.upload_file(str(path), "plant", "few/deep/b.png")
    below = ["s3://plant/few/a.png", "s3://plant/few/deep/b.png"]
    for text in ("s3://plant/few/", "s3://plant/few/**", "s3://plant/few/**/*.png"):
        assert [one.path for one in entries_of([text])] == below
    assert [one.path for one in entries_of(["s3://plant/few/dee*"])] == below[1:]
    client.put_object(Bucket="plant", Key="few/list.csv", Body=b"path\na.png\ngone.png\n")
    there, gone = entries_of(["s3://plant/few/list.csv"])
    assert there.path == "s3://plant/few/a.png" and there.size == path.stat().st_size
    with pytest.raises(SteerAnomalyError, match="no such file"):
        read_picture(gone)
    with pytest.raises(SteerAnomalyError, match="nothing"):
        list(entries_of(["s3://plant/nowhere/"]))
    with pytest.raises(SteerAnomalyError, match=r"cannot list s3://plant/\*\*.png"):
        list(entries_of(["s3://plant/**.png"]))
