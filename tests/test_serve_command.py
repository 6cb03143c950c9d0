"""`steer-anomaly serve` before it serves: what it refuses, and what it warns of."""

import socket

import pytest

pytest.importorskip("fastapi")

from click.testing import CliRunner

from anomaly.cli import main
from anomaly.commands import exit_codes
from anomaly.line.measures import Measures


def serve(*arguments):
    return CliRunner().invoke(main, ["serve", *map(str, arguments)])


@pytest.fixture
def served(monkeypatch):
    """What would have been served."""
    calls = []
    monkeypatch.setattr(
        "anomaly.line.serving.run", lambda service, *a, **k: (service.stop(), calls.append((a, k)))
    )
    return calls


def test_others_may_ask_only_with_a_token_and_without_tls_it_is_said(served, tmp_path):
    done = serve("--profiles", tmp_path, "--host", "0.0.0.0")
    assert done.exit_code == exit_codes.USAGE and "openssl rand -hex 32" in done.output and not served
    (tmp_path / "token").write_text("0123456789abcdef\n")
    done = serve("--profiles", tmp_path, "--host", "0.0.0.0", "--token-file", tmp_path / "token")
    assert (
        done.exit_code == 0
        and "warning: no TLS" in done.output
        and served[0][1]["token"] == "0123456789abcdef"
    )
    done = serve("--profiles", tmp_path)
    assert done.exit_code == 0 and "warning" not in done.output and served[1][0] == ("127.0.0.1", 8000)
    assert (tmp_path / "line" / "line.sqlite").is_file()


def test_what_does_not_fit_is_said(served, tmp_path):
    for arguments, said in (
        (("--profiles", tmp_path / "none"), "expected a folder of profiles"),
        (("--profiles", tmp_path, "--tls-key", "x"), "--tls-certificate and --tls-key together"),
        (("--profiles", tmp_path, "--token-file", tmp_path / "none"), "cannot be read"),
        (("--profiles", tmp_path, "--sink", "ftp://x"), "expected"),
    ):
        done = serve(*arguments)
        assert done.exit_code == exit_codes.USAGE and said in done.output, done.output
    assert not served


def test_a_port_that_is_taken_is_said():
    from anomaly.errors import SteerAnomalyError
    from anomaly.line.serving import _listening

    refused = pytest.raises(SteerAnomalyError, match="choose another --port")
    with socket.create_server(("127.0.0.1", 0)) as taken, refused:
        _listening("127.0.0.1", taken.getsockname()[1])
    with _listening("127.0.0.1", 0) as made:
        assert made.getsockname()[1] > 0


def test_measures_have_a_registry_of_their_own():
    one, other = Measures(lambda: 3), Measures(lambda: 4)
    one.verdicts.labels("p", "ok").inc()
    assert (
        b'verdicts_total{profile="p",verdict="ok"} 1.0' in one.text() and b"queue_pictures 3.0" in one.text()
    )
    assert b"verdicts_total{" not in other.text()
