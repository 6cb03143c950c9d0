"""Which files a model is built from, and what is said when one is missing."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anomaly.errors import SteerAnomalyError
from anomaly.inspector import Inspector
from steervit.weights.finding import find_parts
from steervit.weights.loading import load_pretrained

GOLDEN = Path(__file__).parent / "golden" / "steervit"
TRUNK, TEXT = GOLDEN / "trunk.safetensors", GOLDEN / "tiny-roberta"


@pytest.fixture
def bare(tmp_path):
    """A text encoder's folder without its weights."""
    return Path(shutil.copytree(TEXT, tmp_path / "text", ignore=shutil.ignore_patterns("*.safetensors")))


def test_a_text_folder_may_hold_its_weights_as_pytorch_model_bin(bare):
    torch.save(load_file(TEXT / "model.safetensors"), bare / "pytorch_model.bin")
    one, two = (
        load_pretrained(GOLDEN / "steervit.pth", trunk=TRUNK, text_encoder=text).text_encoder(["a crack"])[0]
        for text in (TEXT, bare)
    )
    assert one.equal(two)
    inspector = Inspector(GOLDEN / "steervit.pth", trunk=TRUNK, text_encoder=bare)
    assert "text" in inspector.record.hashes


def test_missing_parts_are_named_with_what_was_expected(bare, tmp_path):
    for options, says in (
        ({"text_encoder": bare}, r"model\.safetensors or pytorch_model\.bin .*it holds config\.json"),
        ({"text_encoder": tmp_path / "nowhere"}, r"pytorch_model\.bin at .*nowhere; there is no such folder"),
        (
            {"text_encoder": TEXT, "trunk": tmp_path / "no.safetensors"},
            r"trunk's weights in .*no\.safetensors",
        ),
    ):
        given = {"trunk": TRUNK} | options
        with pytest.raises(FileNotFoundError, match=says):
            find_parts(GOLDEN / "steervit.pth", **given)
        with pytest.raises(SteerAnomalyError, match=says):
            Inspector(GOLDEN / "steervit.pth", **given)
