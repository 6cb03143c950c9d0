"""Files are written whole or not at all, with the rights that any new file gets, and the umask is left alone."""

import os
import stat

import pytest

from steervit.files import sha256_of, write_whole

TEXT_HASH = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"  # of "hello world"


@pytest.mark.parametrize(
    "content", ["Riß\n", "Riß\n".encode(), lambda path: path.write_bytes("Riß\n".encode())]
)
def test_text_bytes_and_a_writer_give_the_same_file(tmp_path, content):
    path = tmp_path / "new folder" / "x.txt"
    write_whole(path, content)
    assert path.read_bytes() == "Riß\n".encode()
    assert [one.name for one in path.parent.iterdir()] == ["x.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "x").write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "x", fail)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "old")]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_rights_that_the_umask_leaves_and_nobody_sees_another_umask(
    tmp_path, monkeypatch, umask
):
    before, real, seen = os.umask(umask), os.umask, []
    monkeypatch.setattr(os, "umask", lambda mask: (seen.append(mask), real(mask))[1])
    try:
        write_whole(tmp_path / "x", b"1")
    finally:
        real(before)
    assert seen == []
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_whole(path, "1")
    assert path.read_text() == "1"


def test_the_hash_is_that_of_the_content(tmp_path):
    (tmp_path / "x").write_bytes(b"hello world")
    assert sha256_of(tmp_path / "x") == TEXT_HASH
