"""The tower for reading alone gives what transformers' gives, of the same files."""

import json
from pathlib import Path

import pytest
import torch
from transformers import RobertaModel, RobertaTokenizer

from steervit.modeling.roberta import read_tower
from steervit.modeling.text import TextEncoder

TEXT = Path("steervit/nano/weights/text")
SENTENCES = ["the anomaly in the bottle", "a broken ✓ part", "", "<s> mask <mask>", "a  b\nc", "word " * 200]


@pytest.fixture(scope="module")
def theirs():
    model = RobertaModel.from_pretrained(str(TEXT), add_pooling_layer=False).eval()
    return RobertaTokenizer.from_pretrained(str(TEXT)), model


@pytest.mark.parametrize("sentences", [SENTENCES[:1], SENTENCES[:3], SENTENCES])
def test_ids_and_features_are_those_of_transformers(theirs, sentences):
    ours = read_tower(TEXT)
    given = [
        one(sentences, padding=True, truncation=True, max_length=128, return_tensors="pt")
        for one in (ours[0], theirs[0])
    ]
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(given[0][name], given[1][name])
    with torch.no_grad():
        found, expected = (
            model(**{name: given[1][name] for name in ("input_ids", "attention_mask")}).last_hidden_state
            for model in (ours[1].eval(), theirs[1])
        )
    real = given[1]["attention_mask"].bool()
    assert found.dtype == expected.dtype
    assert torch.allclose(found[real].float(), expected[real].float(), atol=2e-3)  # half precision


def test_names_and_vocabulary_are_those_of_transformers(theirs):
    tokenizer, model = read_tower(TEXT)
    assert model.state_dict().keys() == theirs[1].state_dict().keys()
    assert tokenizer.get_vocab() == theirs[0].get_vocab()
    assert len(tokenizer) == len(theirs[0])


def test_it_is_written_and_read_again(tmp_path):
    encoder = TextEncoder.from_folder(TEXT)
    encoder.model.config.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((TEXT / "model.safetensors").read_bytes())
    again = TextEncoder.from_folder(tmp_path)
    assert torch.equal(again(["a part"])[0], encoder(["a part"])[0])
    assert again.dim == encoder.dim == 96


def test_another_kind_of_tower_is_left_to_transformers(tmp_path):
    assert read_tower(tmp_path) is None
    for path in TEXT.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert read_tower(tmp_path) is not None
    values = json.loads((TEXT / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"hidden_act": "relu"}))
    assert read_tower(tmp_path) is None
