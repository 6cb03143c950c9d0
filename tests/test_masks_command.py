"""`train masks` as a user meets it: a tiny SAM 2 in a folder, one process and two, interrupted and repeated."""

from __future__ import annotations

import queue

import pytest
import training_miniatures as draw
from click.testing import CliRunner
from test_sam_masks import folder  # noqa: F401 - a fixture

from anomaly.commands.masks import masks
from steervit.training.masks import mask_workers as mask_processes
from steervit.training.masks.mask_shards import MaskShards, shard_files

pytestmark = pytest.mark.slow


def run(*arguments: object):
    return CliRunner().invoke(masks, [str(argument) for argument in arguments])


def test_masks_in_one_process_and_in_two(tmp_path, folder):  # noqa: F811
    draw.visual_genome(tmp_path / "vg", photographs=4)
    common = (tmp_path / "vg", "--model", folder, "--images-per-shard", 1, "--device", "cpu")
    half = run(*common, "--out", tmp_path / "one", "--part", "2/2")
    assert half.exit_code == 0, half.output
    assert "4 images with 8 boxes; 0 missing" in half.output and "2 shards made, 2 in" in half.output
    rest = run(*common, "--out", tmp_path / "one", "--part", "1/2", "--processes", 2)
    assert rest.exit_code == 0 and "2 shards made, 4 in" in rest.output, rest.output
    again = run(*common, "--out", tmp_path / "one")
    assert "0 shards made, 4 in" in again.output and "8 regions" in again.output
    assert len(MaskShards(tmp_path / "one")) == 8 and len(shard_files(tmp_path / "one")) == 4


def test_what_is_wrong_is_said_in_one_line(tmp_path, folder):  # noqa: F811
    bare = run(tmp_path, "--out", tmp_path / "x")
    assert bare.exit_code != 0 and "region_descriptions.json" in str(bare.exception)
    draw.visual_genome(tmp_path, photographs=2)
    lost = run(tmp_path, "--out", tmp_path / "x", "--model", tmp_path / "no")
    assert lost.exit_code != 0 and "expected the weights and the processor of SAM 2" in str(lost.exception)
    assert "--part as 2/8" in run(tmp_path, "--out", tmp_path / "x", "--part", "9/8").output


class Ended:
    """A process that is no longer there."""

    exitcode = -9

    def is_alive(self) -> bool:
        return False


def test_processes_that_fail_or_die_are_told_of(monkeypatch):
    monkeypatch.setattr(mask_processes, "LOOK_EVERY", 0.01)
    told: queue.Queue = queue.Queue()
    done: list[int] = []
    for message in [(0, "images", 3), (1, "images", 2), (0, "made", 1)]:
        told.put(message)
    with pytest.raises(RuntimeError, match=r"process 1 ended with code -9.*finished shards are kept"):
        mask_processes._followed([Ended(), Ended()], told, done.append)
    assert done == [3, 2]
    told.put((1, "error", ValueError("no such model")))
    with pytest.raises(ValueError, match="no such model"):
        mask_processes._followed([Ended(), Ended()], told, done.append)
