"""A set that is interrupted by force, by a full disk, or shared by processes ends like one that was not."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import drawn_datasets as drawn
import numpy as np
import pytest
from PIL import Image
from set_driver import DrawnSet, inspect, score

from anomaly.errors import SteerAnomalyError
from anomaly.evidence import mutual_store
from anomaly.runs import observations
from anomaly.runs.saving import OutputError

DRIVER = Path(__file__).with_name("set_driver.py")
IMAGES = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "photos"
    folder.mkdir()
    for i in range(IMAGES):
        pixels = np.random.default_rng(i).integers(90, 110, (24, 32, 3), np.uint8)
        pixels[8:16, 8:16] += np.uint8(60 * (i == 0))
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("whole")
    inspect(photos, out, DrawnSet())
    return result_of(out)


def result_of(out: Path) -> dict:
    """The bytes of every file that holds a result, and the rows but for when they were written."""
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix in (".tiff", ".png", ".jpg", ".npz", ".safetensors")
    }
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    rows = {line["path"]: {**line, "written": None} for line in lines}
    return {"files": files, "rows": rows}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["observe", "compare", "conclude"])
def test_killed_in_any_stage_a_run_goes_on_to_the_same_bytes(stage, photos, whole, tmp_path):
    command = [sys.executable, DRIVER, "inspect", photos, tmp_path, stage, "9"]
    killed = subprocess.run(list(map(str, command)), capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = {
        "observe": len(list(tmp_path.glob("observations/*.npz"))),
        "compare": len(list(tmp_path.glob("observations/compared/scores/*/*.safetensors"))),
        "conclude": len((tmp_path / "results.jsonl").read_text().splitlines()),
    }
    assert 1 <= done[stage] < IMAGES
    inspect(photos, tmp_path, DrawnSet())
    assert result_of(tmp_path) == whole


@pytest.mark.parametrize("module", [mutual_store, observations])
def test_a_full_disk_while_a_set_is_kept_is_said_and_nothing_done_is_lost(
    module, photos, whole, tmp_path, monkeypatch
):
    write, written = module.write_whole, []

    def fills(path, content):
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(path, content)

    with monkeypatch.context() as full:
        full.setattr(module, "write_whole", fills)
        with pytest.raises(SteerAnomalyError, match=r"[Nn]o space left") as error:
            inspect(photos, tmp_path, DrawnSet())
    assert "ree " in str(error.value)  # free space, or choose another folder
    assert isinstance(error.value, OutputError) or "what is there is kept" in str(error.value)
    assert all(path.is_file() for path in written) and not list(tmp_path.rglob("*.part"))
    inspect(photos, tmp_path, DrawnSet())
    assert result_of(tmp_path) == whole


@pytest.mark.slow
def test_processes_that_share_a_set_find_what_one_finds(tmp_path):
    category = drawn.mvtec_category(tmp_path / "cup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(DRIVER), "eval", str(category), str(tmp_path / "two")],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert len(list((tmp_path / "two/journal").glob("cup.*.jsonl"))) == 2
    score(category, tmp_path / "one")
    one, two = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*.tiff")
        }
        for name in ("one", "two")
    )
    assert one == two and one
    found = [
        json.loads((tmp_path / name / "categories/cup.json").read_text())["result"] for name in ("one", "two")
    ]
    assert found[0] == found[1]
