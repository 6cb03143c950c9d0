"""Steering vectors of a SteerViT: what text changes, added again without the text."""

from pathlib import Path

import pytest
import torch

from steervit import SteerViT
from steervit.inference.vectors import (
    SteeringVector,
    encode_by_vector,
    extract_vector,
    load_vector,
    save_vector,
)

GOLDEN = Path(__file__).parent / "golden" / "steervit"


@pytest.fixture(scope="module")
def model():
    return SteerViT.from_pretrained(
        GOLDEN / "steervit.pth", trunk=GOLDEN / "trunk.safetensors", text_encoder=GOLDEN / "tiny-roberta"
    )


@pytest.fixture(scope="module")
def images(model):
    return torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vector(model, images):
    return extract_vector(model, [images], "the crack in the cup", "the cup")


def test_the_shift_is_the_mean_of_what_cross_attention_adds(model, images, vector):
    steered = [int(i) for i in model.cross_attention]
    assert sorted(vector.layers) == steered
    first = steered[0]
    with torch.no_grad():  # by hand, for the first steered layer: both sentences meet the same tokens there
        tokens = model.encode(images, blocks=[first - 1]).blocks[first - 1] if first else None
        changes = []
        for sentence in ("the crack in the cup", "the cup"):
            text, mask = model.encode_text([sentence] * 2)
            layer = model.cross_attention[str(first)]
            changes.append(layer(tokens, text, mask, 1.0) - tokens)
    prefix = model.trunk.num_prefix_tokens
    wanted = (changes[0] - changes[1])[:, prefix:].mean((0, 1))
    torch.testing.assert_close(vector.layers[first], wanted)
    assert vector.provenance["anchor"] == "the crack in the cup" and vector.provenance["pictures"] == 2


def test_alpha_nought_is_the_model_as_it_is_to_the_bit(model, images, vector):
    with torch.no_grad():
        assert torch.equal(encode_by_vector(model, images, vector, 0.0), model(images))
        texts = ["the cup"] * 2
        assert torch.equal(encode_by_vector(model, images, vector, 0.0, texts, "both"), model(images, texts))


def test_the_vector_is_added_to_patches_before_its_block(model, images):
    last = len(model.trunk.blocks) - 1
    push = SteeringVector({last: torch.arange(float(model.feature_dim))})
    with torch.no_grad():
        found = encode_by_vector(model, images, push, 0.1)
        before = model.encode(images, blocks=[last - 1]).blocks[last - 1].clone()
        prefix = model.trunk.num_prefix_tokens
        before[:, prefix:] += 0.1 * push.layers[last]
        wanted = model.trunk.norm(model.trunk.blocks[last](before))
    torch.testing.assert_close(found, wanted)


def test_on_text_tokens(model, images, vector):
    texts = ["the cup"] * 2
    with torch.no_grad():
        plain = model(images, texts)
        found = encode_by_vector(model, images, vector, 2.0, texts, "text")
        text, mask = model.encode_text(texts)
        wanted = model.encode_with(images, text + 2.0 * vector.text, mask).tokens
    torch.testing.assert_close(found, wanted)
    assert not torch.equal(found, plain)
    with pytest.raises(ValueError, match="needs them"):
        encode_by_vector(model, images, vector, 1.0, None, "text")


def test_vectors_add_turn_and_scale(vector):
    block = min(vector.layers)
    assert torch.equal((vector + vector).layers[block], 2 * vector.layers[block])
    assert torch.equal((-vector).layers[block], -vector.layers[block])
    assert float((vector + -vector).layers[block].abs().max()) == 0
    assert float(vector.unit().layers[block].norm()) == pytest.approx(1, abs=1e-5)
    assert list(vector.only(block).layers) == [block]
    with pytest.raises(ValueError, match="some of the blocks"):
        vector.only(99)
    with pytest.raises(ValueError, match="one model"):
        vector + SteeringVector({0: torch.ones(3)})


def test_a_probe_separates_the_two_sentences(model, images):
    found = extract_vector(model, [images], "the crack in the cup", None, "probe")
    assert all(float(one.norm()) == pytest.approx(1, abs=1e-4) for one in list(found.layers.values())[1:])


def test_kept_in_a_file_with_where_it_came_from(vector, tmp_path):
    save_vector(vector, tmp_path / "v.safetensors")
    again = load_vector(tmp_path / "v.safetensors")
    assert again.provenance == dict(vector.provenance) and sorted(again.layers) == sorted(vector.layers)
    assert all(torch.equal(again.layers[i], one) for i, one in vector.layers.items())
    assert torch.equal(again.text, vector.text)


def test_bad_files_and_misfits(model, images, vector, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "v.safetensors"
    path.write_bytes(b"no vector")
    with pytest.raises(ValueError, match="could not read it"):
        load_vector(path)
    save_file({"layer.1": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="vectors extract"):
        load_vector(path)
    save_vector(SteeringVector({1: torch.tensor([float("inf")])}), path)
    with pytest.raises(ValueError, match="finite"):
        load_vector(path)
    with pytest.raises(ValueError, match="another model's"):
        encode_by_vector(model, images, SteeringVector({0: torch.ones(3)}))
    with pytest.raises(ValueError, match="another model's"):
        encode_by_vector(model, images, SteeringVector({77: torch.ones(model.feature_dim)}))
    with pytest.raises(ValueError, match="shift or probe"):
        extract_vector(model, [images], "a", "b", "median")
    with pytest.raises(ValueError, match="at least one picture"):
        extract_vector(model, [], "a", "b")


def test_late_layers_are_places_too(images):
    late = SteerViT.from_pretrained("nano")
    depth = len(late.trunk.blocks)
    assert min(late.late_layers()) >= depth
    pixels = torch.rand(1, 3, *late.image_size, generator=torch.Generator().manual_seed(1))
    found = extract_vector(late, [pixels], "the crack in the cup", "the cup")
    assert sorted(found.layers) == sorted(late.late_layers())
    last = max(found.layers)
    with torch.no_grad():
        plain = late.encode(pixels, blocks=[depth - 1]).blocks[depth - 1].clone()
        plain[:, late.trunk.num_prefix_tokens :] += 3 * found.layers[last]
        torch.testing.assert_close(
            encode_by_vector(late, pixels, found.only(last), 3.0), late.trunk.norm(plain)
        )
