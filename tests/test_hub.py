"""Published models are fetched, resumed, checked and found again, against a small hub run by the test."""

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from steervit.weights import catalogue as model_list
from steervit.weights import hub
from steervit.weights.catalogue import HubFile, ModelCard, text_encoder_files
from steervit.weights.download import Hub, HubError

GOLDEN = Path(__file__).parent / "golden" / "steervit"
COMMIT = "c0ffee" + "0" * 34
BIG = bytes(range(256)) * 8192  # 2 MiB
TEXT_FILES = {
    name: (GOLDEN / "tiny-roberta" / name).read_bytes()
    for name in ("config.json", "vocab.json", "merges.txt", "tokenizer.json", "model.safetensors")
}


class StandIn(BaseHTTPRequestHandler):
    """What the hub's resolve endpoint promises: ETag, commit, size, and byte ranges."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def redirect(self, content: bytes):
        self.send_response(302)
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Location", f"http://localhost:{self.server.server_port}/storage{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body: bool):
        self.server.tokens.append((self.path.startswith("/storage"), self.headers.get("Authorization")))
        if self.server.redirects and not self.path.startswith("/storage"):
            return self.redirect(next(iter(self.server.files.values())))
        self.path = self.path.removeprefix("/storage")
        content = self.server.files.get(self.path.removeprefix("/").replace("/resolve/", "@", 1))
        self.server.log.append((self.command, self.path, self.headers.get("Range")))
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = hashlib.sha256(self.server.promised.get(self.path, content)).hexdigest()
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1]) if body else 0
        self.send_response(206 if body and start else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            stop = self.server.cut_at.pop(self.path, None) if self.path in self.server.cut_at else None
            with contextlib.suppress(OSError):
                self.wfile.write(content[start:stop])
            if stop is not None:
                self.close_connection = True


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.files, server.log, server.cut_at, server.promised = {}, [], {}, {}
    server.redirects, server.tokens = False, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def file_of(content: bytes, name="big.pth", revision: str | None = COMMIT) -> HubFile:
    return HubFile("someone/model", name, revision, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def big(server):
    server.files[f"someone/model@{COMMIT}/big.pth"] = BIG
    return file_of(BIG)


def gets(server):
    return [(path.rsplit("/", 1)[-1], span) for command, path, span in server.log if command == "GET"]


def test_a_file_is_fetched_once_and_found_without_network(server, big, tmp_path):
    there = Hub(tmp_path, server.url)
    path = there.fetch(big)
    assert path.read_bytes() == BIG
    assert path == tmp_path / "models--someone--model" / "snapshots" / COMMIT / "big.pth"
    assert gets(server) == [("big.pth", None)]
    assert there.fetch(big) == Hub(tmp_path, "http://127.0.0.1:1").fetch(big) == path
    assert gets(server) == [("big.pth", None)]
    assert not list(tmp_path.rglob("*.partial"))


def test_an_interrupted_download_goes_on_where_it_stopped(server, big, tmp_path):
    blobs = tmp_path / "models--someone--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{big.sha256}.partial").write_bytes(BIG[:1_000_000])  # what a stopped process left
    assert Hub(tmp_path, server.url).fetch(big).read_bytes() == BIG
    assert gets(server) == [("big.pth", "bytes=1000000-")]


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_had(server, big, tmp_path):
    # The connection breaks in mid-file, and the process ends where the client would wait and try again.
    server.cut_at[f"/someone/model/resolve/{COMMIT}/big.pth"] = 700_000
    stop = "import sys; from steervit.weights.download import Hub; from steervit.weights.catalogue import HubFile;"
    stop += "import huggingface_hub.file_download as f, time; f.time.sleep = lambda s: sys.exit(9);"
    stop += "f.constants.DOWNLOAD_CHUNK_SIZE = 100_000;"
    stop += f"Hub(__import__('pathlib').Path({str(tmp_path)!r}), {server.url!r}).fetch({big!r})"
    done = subprocess.run([sys.executable, "-c", stop], capture_output=True, text=True, timeout=60)
    assert done.returncode == 9, done.stderr
    (partial,) = tmp_path.rglob("*.partial")
    have = partial.stat().st_size
    assert 0 < have <= 700_000
    assert Hub(tmp_path, server.url).fetch(big).read_bytes() == BIG
    assert gets(server)[-1] == ("big.pth", f"bytes={have}-")


def test_a_dropped_connection_is_taken_up_again(server, big, tmp_path, monkeypatch):
    # The client keeps whole pieces only, of 10 MB by default.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    server.cut_at[f"/someone/model/resolve/{COMMIT}/big.pth"] = 700_000
    assert Hub(tmp_path, server.url).fetch(big).read_bytes() == BIG
    assert gets(server) == [("big.pth", None), ("big.pth", "bytes=700000-")]


def test_large_files_lie_on_another_host_which_gets_no_token(server, big, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.redirects = True
    blobs = tmp_path / "models--someone--model" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{big.sha256}.partial").write_bytes(BIG[:5])
    assert Hub(tmp_path, server.url).fetch(big).read_bytes() == BIG
    assert gets(server) == [("big.pth", "bytes=5-")]
    assert {token for elsewhere, token in server.tokens if not elsewhere} == {"Bearer hf_secret"}
    assert {token for elsewhere, token in server.tokens if elsewhere} == {None}


def test_a_wrong_hash_is_refused_and_kept_aside(server, big, tmp_path):
    listed = replace(big, sha256="0" * 64)
    with pytest.raises(HubError, match=rf"expected SHA-256 {'0' * 64}, got {big.sha256}.*pull again"):
        Hub(tmp_path, server.url).fetch(listed)
    (rejected,) = tmp_path.rglob("*.rejected")
    assert rejected.read_bytes() == BIG
    assert Hub(tmp_path).cached(listed) is None
    assert Hub(tmp_path, server.url).fetch(big).read_bytes() == BIG  # the true hash still works afterwards


def test_content_that_is_not_what_the_hub_announces(server, big, tmp_path):
    server.promised[f"/someone/model/resolve/{COMMIT}/big.pth"] = BIG[::-1]
    unlisted = replace(big, sha256=None, bytes=None)
    with pytest.raises(HubError, match="is not the published file"):
        Hub(tmp_path, server.url).fetch(unlisted)


def test_a_changed_size_is_noticed_before_downloading(server, big, tmp_path):
    with pytest.raises(HubError, match=r"should have 5 bytes, but the hub offers 2,097,152"):
        Hub(tmp_path, server.url).fetch(replace(big, bytes=5))
    assert gets(server) == []


def test_a_damaged_cache_is_named_and_left_alone(server, big, tmp_path):
    there = Hub(tmp_path, server.url)
    blob = there.fetch(big).resolve()
    for content, says in ((BIG[:-1] + b"x", "expected SHA-256"), (BIG[:99], "should have 2,097,152 bytes")):
        blob.write_bytes(content)
        with pytest.raises(HubError, match=f"{says}.*delete it and pull again"):
            there.fetch(big)
        assert blob.read_bytes() == content


def test_a_full_disk_is_told_beforehand(server, big, tmp_path, monkeypatch):
    monkeypatch.setattr("steervit.weights.download.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(HubError, match=r"needs 2 MB more.*HF_HUB_CACHE"):
        Hub(tmp_path, server.url).fetch(big)


def test_what_the_hub_does_not_have(server, tmp_path):
    with pytest.raises(
        HubError, match=r"the hub has no big\.pth in someone/model at revision c0ffee.*--revision"
    ):
        Hub(tmp_path, server.url).fetch(file_of(BIG))


@pytest.fixture
def published(server, monkeypatch):
    """A model whose parts all lie on the stand-in, put in the place of the list's."""
    weights = (GOLDEN / "steervit.pth").read_bytes()
    server.files[f"someone/model@{COMMIT}/model.pth"] = weights
    server.files["someone/trunk@main/model.safetensors"] = trunk = (GOLDEN / "trunk.safetensors").read_bytes()
    server.files |= {f"someone/text@main/{name}": content for name, content in TEXT_FILES.items()}
    card = ModelCard(
        "tiny", "for tests", "research only", False, file_of(weights, "model.pth"), "tiny_trunk", "t"
    )
    files = text_encoder_files("someone/text")
    monkeypatch.setattr(hub, "find", lambda name: {"tiny": card, "own": replace(card, trunk=None)}[name])
    at = HubFile("someone/trunk", "model.safetensors", None, len(trunk), hashlib.sha256(trunk).hexdigest())
    monkeypatch.setattr(hub, "trunk_file", {"tiny_trunk": at, "test_vit": at}.__getitem__)
    monkeypatch.setattr(hub, "text_encoder_files", lambda _: files)
    return card


@pytest.mark.parametrize("name", ["tiny", "own"])
def test_a_whole_model_is_pulled_and_located(server, published, tmp_path, name):
    paths = hub.pull(name, tmp_path, progress=False, endpoint=server.url)
    assert paths.checkpoint.read_bytes() == (GOLDEN / "steervit.pth").read_bytes()
    assert paths.trunk.read_bytes() == (GOLDEN / "trunk.safetensors").read_bytes()
    assert {path.name for path in paths.text.iterdir()} == set(
        TEXT_FILES
    )  # the optional one is not on this hub
    before = len(server.log)
    assert hub.locate(name, tmp_path) == hub.ensure(name, cache_dir=tmp_path) == paths
    assert len(server.log) == before


def test_another_revision_can_be_pulled_and_is_found(server, published, tmp_path):
    server.files["someone/model@main/model.pth"] = server.files.pop(f"someone/model@{COMMIT}/model.pth")
    with pytest.raises(HubError, match="--revision main"):
        hub.pull("tiny", tmp_path, progress=False, endpoint=server.url)
    paths = hub.pull("tiny", tmp_path, progress=False, endpoint=server.url, revision="main")
    assert hub.locate("tiny", tmp_path) == paths


def test_missing_parts_are_told_in_one_sentence(server, published, tmp_path):
    hub.pull("tiny", tmp_path, progress=False, endpoint=server.url)
    for path in tmp_path.glob("models--someone--text/snapshots/*/vocab.json"):
        path.unlink()
    for call in (hub.locate, lambda *a: hub.ensure(*a[:1], local_only=True, cache_dir=a[1])):
        with pytest.raises(hub.NotPulledError) as error:
            call("tiny", tmp_path)
        assert str(error.value) == (
            f"tiny needs vocab.json of someone/text, which cannot be found in {tmp_path}: run `steer-anomaly "
            "models pull tiny` with a network, or run it on a machine that has one and copy "
            "models--someone--text from its cache into that folder"
        )


def test_without_network(published, tmp_path):
    with pytest.raises(
        hub.NotPulledError, match=r"^tiny needs model\.pth of .* the hub cannot be reached \("
    ) as error:
        hub.pull("tiny", tmp_path, progress=False, endpoint="http://127.0.0.1:1")
    assert "\n" not in str(error.value)


def test_offline_mode(tmp_path):
    code = "from steervit.weights import hub\ntry: hub.ensure('dinov2-base')\nexcept hub.NotPulledError as e: print(e)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.stdout.startswith("dinov2-base needs steervit_dinov2_base.pth of JonaRuthardt/SteerViT and ")
    assert "steer-anomaly models pull dinov2-base" in done.stdout
    assert done.stdout.count("\n") == 1 and done.stderr == ""


def test_a_hub_named_by_the_environment(server, big, tmp_path):
    code = "from steervit.weights.download import Hub, Path\nfrom steervit.weights.catalogue import HubFile\n"
    code += f"print(Hub(Path({str(tmp_path)!r})).fetch({big!r}).stat().st_size)"
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout == f"{len(BIG)}\n", done.stderr


def test_parts_for_a_checkpoint_of_ones_own(tmp_path):
    with pytest.raises(hub.NotPulledError, match=r"hf download timm/vit_base_patch14_dinov2\.lvd142m"):
        hub.trunk_path("vit_base_patch14_dinov2.lvd142m", local_only=True, cache_dir=tmp_path)
    with pytest.raises(
        hub.NotPulledError, match=r"hf download FacebookAI/roberta-large model\.safetensors config"
    ):
        hub.text_encoder_path("roberta-large", local_only=True, cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["/home/me/roberta", "../roberta", "a/b/c", ""])
def test_a_folder_is_no_name_of_a_text_encoder(name):
    with pytest.raises(ValueError, match="pass its folder as text_encoder"):
        hub.text_encoder_path(name, local_only=True)


def test_the_list_is_whole():
    cards = {card.name: card for card in hub.list_models()}
    assert next(iter(cards)) == "nano" and cards["nano"].embedded and cards["nano"].commercial
    assert len(cards) == 8
    assert [name for name, card in cards.items() if not card.commercial] == [
        "dinov2-base",
        "mae-base",
        "siglip-base",
        "siglip2-base",
    ]
    for card in cards.values():
        if card.checkpoint:
            assert re.fullmatch(r"[0-9a-f]{40}", card.checkpoint.revision)
            assert card.text == "roberta-large"
    content = yaml.safe_load(model_list.LIST.read_text())
    entries = [entry for part in content.values() for entry in part.values() if "sha256" in entry]
    for entry in entries:
        assert entry["sha256"] is None or re.fullmatch(r"[0-9a-f]{64}", entry["sha256"])
        assert (entry["sha256"] is None) == (entry["bytes"] is None)
    hashes = [entry["sha256"] for entry in entries if entry["sha256"]]
    assert len(set(hashes)) == len(hashes)
    assert {card.trunk for card in cards.values()} - {None} <= set(content["trunks"])


@pytest.mark.parametrize(
    "name", ["dinov2-base", "steervit_dinov2_base.pth", "steervit-dinov2-base", "DINOv2_base"]
)
def test_names_and_published_file_names(name):
    assert hub.find(name).name == "dinov2-base"


def test_unknown_names_and_notices():
    with pytest.raises(ValueError, match=r"no model called 'dinov2-bas'.*did you mean dinov2-base"):
        hub.find("dinov2-bas")
    assert "no commercial use" in hub.licence_notice("dinov2-base")
    assert hub.licence_notice("nano") is hub.licence_notice("dinov2-commercial-base") is None
    assert hub.licence_notice("my/own.pth") is None


def test_trunks_that_only_timm_knows():
    assert model_list.trunk_file("vit_base_patch16_224.mae").repo == "timm/vit_base_patch16_224.mae"
    with pytest.raises(ValueError, match="timm knows no weights"):
        model_list.trunk_file("vit_of_nobody")


def test_listing_models_is_light():
    code = "import sys; from steervit.weights import hub; hub.list_models(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
