"""CLIP and SigLIP by transformers' real classes: what a baseline takes out of them is what they give themselves."""

import drawn_contrastive as drawn
import numpy as np
import pytest
import torch
from PIL import Image

from anomaly import prompts
from anomaly.errors import SteerAnomalyError
from anomaly.methods.backbones import is_contrastive, open_contrastive, squashed
from anomaly.methods.contrastive import ContrastiveBackbone
from anomaly.methods.known import open_method
from anomaly.methods.maskclip import values
from anomaly.methods.method import Asked

CONTRAST = prompts.load("compositional-contrast")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("contrastive")
    return {"clip": drawn.clip(root / "clip"), "siglip": drawn.siglip(root / "siglip")}


@pytest.fixture(params=["clip", "siglip"])
def backbone(request, folders):
    return ContrastiveBackbone(str(folders[request.param]))


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_pictures_and_sentences_are_the_models_own(backbone, images):
    patches, whole = backbone.see(images)
    assert patches.shape == (2, 16, whole.shape[1]) and backbone.grid_size == (4, 4)
    assert torch.allclose(whole, backbone.model.get_image_features(images).pooler_output, atol=1e-6)
    said = backbone.say(["the dog", "a photo of the bottle"])
    padding = "max_length" if not backbone.is_clip else True
    words = backbone._tokenizer(
        ["the dog"], padding=padding, max_length=12, truncation=True, return_tensors="pt"
    )
    mask = {"attention_mask": words["attention_mask"]} if backbone.is_clip else {}
    expected = backbone.model.get_text_features(words["input_ids"], **mask).pooler_output
    assert torch.allclose(said[:1], expected, atol=1e-5)
    assert said.shape[1] == whole.shape[1]


@torch.inference_mode()
def test_a_window_of_all_patches_is_the_picture(backbone, images):
    every = torch.arange(16)[None]
    assert torch.allclose(backbone.windows(images, every)[:, 0], backbone.see(images)[1], atol=1e-5)
    some = backbone.windows(images, torch.tensor([[0, 1, 4, 5], [10, 11, 14, 15]]))
    assert some.shape[:2] == (2, 2) and not torch.allclose(some[:, 0], some[:, 1])
    changed = images.clone()
    changed[:, :, 16:, 16:] = 0  # patches 10, 11, 14, 15: the first window does not see them
    again = backbone.windows(changed, torch.tensor([[0, 1, 4, 5], [10, 11, 14, 15]]))
    assert torch.allclose(some[:, 0], again[:, 0], atol=1e-6) and not torch.allclose(some[:, 1], again[:, 1])


@torch.inference_mode()
def test_values_of_the_last_block_against_its_attention_on_one_patch_alone(backbone, images):
    """With a single token attention can but return its value: maskclip's patch is the last block run on it alone."""
    tokens = backbone.embedded(images)
    *blocks, last = backbone.model.vision_model.encoder.layers
    for block in blocks:
        tokens = block(tokens, None)
    alone = last(tokens.flatten(0, 1)[:, None], None)[:, 0].unflatten(0, tokens.shape[:2])
    expected = backbone.projected(alone[:, 1:] if backbone.is_clip else alone)
    assert torch.allclose(values(backbone, images), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_transforms(folders, kind):
    backbone = ContrastiveBackbone(str(folders[kind]))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    expected = backbone._processor(image, return_tensors="pt")["pixel_values"][0]
    assert backbone.transform(whole=False)(image) == pytest.approx(
        expected, abs=0.06
    )  # resampled by other code
    assert backbone.transform(whole=True)(image).shape == (3, 32, 32)
    assert squashed(backbone, np.asarray(image)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("name", "kind"), [("clip", "clip"), ("siglip", "siglip"), ("maskclip", "clip"),
                                            ("maskclip", "siglip"), ("winclip", "clip"), ("winclip", "siglip"),
                                            ("late-fusion", "clip"), ("text-pooling", "siglip")])  # fmt: skip
def test_methods_give_a_map_of_every_picture(folders, name, kind):
    method = open_method(name, Asked(CONTRAST, str(folders[kind])))
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    found = method.find(image, "bottle")
    assert found.map.shape == (4, 4) and found.map.dtype == np.float32 and np.isfinite(found.map).all()
    assert found.map.min() >= 0 and found.map.max() <= 1 and found.seen_hw == (32, 32)
    assert np.array_equal(found.map, method.find(image, "bottle").map)
    about = method.describe()
    assert about["model"] == kind and list(about["hashes"]) == ["model.safetensors"]


def test_clip_by_hand(folders):
    """The probability of the wanted prompts' direction against the contrast's, from features taken step by step."""
    method = open_method("clip", Asked(CONTRAST, str(folders["clip"])))
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    backbone = method.backbone
    with torch.inference_mode():
        patches = backbone.see(squashed(backbone, image))[0][0].numpy()
        ways = []
        for texts in (CONTRAST.fill("bottle"), CONTRAST.fill_contrast("bottle")):
            each = np.stack([backbone.say([text])[0].numpy() for text in texts])
            mean = (each / np.linalg.norm(each, axis=1, keepdims=True)).mean(0)
            ways.append(mean / np.linalg.norm(mean))
    cosines = patches / np.linalg.norm(patches, axis=1, keepdims=True) @ np.stack(ways).T * backbone.scale
    expected = np.exp(cosines[:, 0]) / np.exp(cosines).sum(1)
    assert method.find(image, "bottle").map.ravel() == pytest.approx(expected, abs=1e-5)


def test_what_is_no_such_model_is_refused(folders, tmp_path):
    assert is_contrastive("openai/clip-vit-base-patch16") and is_contrastive(
        "google/siglip-base", ("siglip",)
    )
    assert not is_contrastive("nano") and not is_contrastive("some/dir/clip.pth")
    assert not is_contrastive(str(folders["clip"]), ("siglip",))
    with pytest.raises(SteerAnomalyError, match="expected --model to be a folder with weights of clip"):
        open_contrastive(Asked(CONTRAST, "nano"), ("clip",))
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(SteerAnomalyError, match="could not load it"):
        _ = ContrastiveBackbone(str(tmp_path)).model
    with pytest.raises(SteerAnomalyError, match="has no contrast"):
        open_method("winclip", Asked(prompts.load("default"), str(folders["clip"])))
