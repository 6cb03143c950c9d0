"""The augmentation: exact numbers, image and mask together, the same again from the same generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

from steervit.training.data.augment import (
    DIRECTIONS,
    Augmentation,
    augment,
    crop_box,
    names_direction,
    squash,
)
from steervit.training.losses import pointing_targets

PLAIN = Augmentation(jitter=0)  # colours stay, so that the image itself shows where the mask should be
STILL = Augmentation(jitter=0, affine=0, flip=0)
SIZE = 56


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(height: int = 80, width: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A white block left of the middle, on black, and its mask."""
    mask = np.zeros((height, width), bool)
    mask[20:60, 25:60] = True
    return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2), mask


def changed(how: Augmentation, text: str = "block", seeds: int = 60) -> list[tuple[np.ndarray, np.ndarray]]:
    return [augment(*picture(), text, SIZE, rng(seed), how) for seed in range(seeds)]


def test_sizes_types_and_repetition():
    image, mask = picture()
    kept = image.copy(), mask.copy()
    out = augment(image, mask, "block", SIZE, rng(3))
    assert out[0].shape == (SIZE, SIZE, 3) and out[0].dtype == np.uint8
    assert out[1].shape == (SIZE, SIZE) and out[1].dtype == bool
    again = augment(image, mask, "block", SIZE, rng(3))
    other = augment(image, mask, "block", SIZE, rng(4))
    np.testing.assert_array_equal(out[0], again[0])
    np.testing.assert_array_equal(out[1], again[1])
    assert not np.array_equal(out[0], other[0])
    np.testing.assert_array_equal(
        (image, np.repeat(mask[..., None], 3, 2)), (kept[0], np.repeat(kept[1][..., None], 3, 2))
    )


def test_image_and_mask_stay_together():
    for image, mask in changed(PLAIN):
        bright = image.mean(-1) > 127
        overlap = (bright & mask).sum() / (bright | mask).sum()
        assert overlap > 0.9  # edges differ, bicubic against nearest


def test_the_mirror_comes_in_half_of_the_cases_and_never_with_a_direction():
    how = replace(STILL, flip=0.5, crop_scale=(1.0, 1.0), crop_ratio=(1.5, 1.5))

    def mirrored(text: str) -> float:
        return float(
            np.mean([mask[:, : SIZE // 2].sum() < mask.sum() / 2 for _, mask in changed(how, text, 200)])
        )

    assert 0.4 < mirrored("the block") < 0.6
    assert mirrored("the block on the left") == mirrored("Upper block") == 0
    assert mirrored("the block with handlebars, leftover") > 0.4  # only whole words count


@pytest.mark.parametrize("word", DIRECTIONS)
def test_directions(word):
    assert names_direction(f"the {word.upper()} one") and names_direction(f"{word}.")
    assert not names_direction(f"x{word}y")


def test_crops_have_the_areas_and_aspects_asked_for():
    how = Augmentation()
    boxes = [crop_box(300, 300, rng(seed), how) for seed in range(400)]
    area = np.array([w * h for _, _, w, h in boxes]) / 300**2
    aspect = np.array([w / h for _, _, w, h in boxes])
    assert 0.64 < area.min() < 0.68 and 0.9 < area.max() <= 1
    assert 0.84 < aspect.min() < 0.9 and 1.12 < aspect.max() < 1.19
    assert all(x >= 0 and y >= 0 and x + w <= 300 and y + h <= 300 for x, y, w, h in boxes)
    assert len({x for x, *_ in boxes}) > 20


def test_an_elongated_image_gets_the_largest_central_crop():
    assert crop_box(1000, 100, rng(), Augmentation()) == (441, 0, 118, 100)
    assert crop_box(100, 1000, rng(), Augmentation()) == (0, 441, 100, 118)


def test_crops_keep_the_mask_or_the_image_is_squashed():
    image = np.zeros((100, 400, 3), np.uint8)
    mask = np.zeros((100, 400), bool)
    mask[40:60, :4] = True  # at the far left: no central crop of this wide image can keep it
    out = augment(image, mask, "corner", SIZE, rng(), STILL)
    np.testing.assert_array_equal(out[1], squash(image, mask, SIZE)[1])
    assert out[1].any()


def test_a_crop_is_tried_again_until_the_mask_is_in_it():
    image = np.zeros((100, 100, 3), np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[:6, :6] = True
    how = replace(STILL, crop_scale=(0.8, 0.95))
    squashed = squash(image, mask, 100)[1]
    outcomes = [augment(image, mask, "corner", 100, rng(seed), how)[1] for seed in range(60)]
    assert all(outcome.sum() >= 16 for outcome in outcomes)
    assert sum(not np.array_equal(outcome, squashed) for outcome in outcomes) > 30


def test_an_empty_mask_is_cropped_like_any_other():
    image = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, 100, 3)).copy()
    empty = np.zeros((100, 100), bool)
    out = augment(image, empty, "nothing", SIZE, rng(1), STILL)
    assert not out[1].any() and not np.array_equal(out[0], squash(image, empty, SIZE)[0])


def test_the_move_is_dropped_when_it_loses_the_mask():
    image, mask = picture()
    how = replace(STILL, affine=1, crop_scale=(1, 1), crop_ratio=(1.5, 1.5))
    moved = augment(image, mask, "block", SIZE, rng(5), how)
    assert not np.array_equal(moved[1], squash(image, mask, SIZE)[1])
    small = np.zeros_like(mask)
    small[40:42, 50:53] = True  # fewer than 16 pixels from the start
    kept = augment(image, small, "block", SIZE, rng(5), how)
    np.testing.assert_array_equal(kept[0], squash(image, small, SIZE)[0])


def test_colours_change_and_the_mask_does_not():
    image, mask = picture()
    image[..., 1] //= 2
    how = replace(STILL, jitter=1, crop_scale=(1, 1), crop_ratio=(1.5, 1.5))
    out = augment(image, mask, "block", SIZE, rng(2), how)
    plain = squash(image, mask, SIZE)
    np.testing.assert_array_equal(out[1], plain[1])
    assert not np.array_equal(out[0], plain[0])
    often = [
        augment(image, mask, "block", SIZE, rng(seed), replace(how, jitter=0.7))[0] for seed in range(200)
    ]
    assert 0.6 < np.mean([not np.array_equal(one, plain[0]) for one in often]) < 0.8


def test_squash_resamples_as_torchvision_does():
    image = rng().integers(0, 256, (50, 90, 3), np.uint8)
    mask = rng().random((50, 90)) < 0.5
    out = squash(image, mask, SIZE)
    expected = F.resize(Image.fromarray(image), [SIZE, SIZE], InterpolationMode.BICUBIC)
    np.testing.assert_array_equal(out[0], np.array(expected))
    expected = F.resize(Image.fromarray(mask.astype(np.uint8)), [SIZE, SIZE], InterpolationMode.NEAREST)
    np.testing.assert_array_equal(out[1], np.array(expected) > 0)


def test_sizes_that_differ_and_single_pixels():
    with pytest.raises(ValueError, match="the image's size"):
        augment(np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4), bool), "x", SIZE, rng())
    out = augment(np.full((1, 1, 3), 9, np.uint8), np.ones((1, 1), bool), "x", SIZE, rng(), STILL)
    assert (out[0] == 9).all() and out[1].all()


def test_the_pointing_target_by_hand():
    mask = torch.zeros(3, 56, 56)
    mask[0, 14:42, 28:42] = 1  # box centre (35, 28): patch coordinates (2.5, 2.0)
    mask[1, 14, 28] = mask[1, 41, 41] = 1  # the same box, another shape
    targets = pointing_targets(mask, 14).view(3, 4, 4)
    np.testing.assert_allclose(targets[0], targets[1])
    assert not targets[2].any()
    # patch (row 1, column 2) has its centre at (2.5, 1.5): half a patch away
    assert targets[0, 1, 2].item() == pytest.approx(np.exp(-0.25 / (2 * 1.1**2)))
    assert targets[0, 3, 0].item() == pytest.approx(np.exp(-(2**2 + 1.5**2) / (2 * 1.1**2)))
    assert targets[0, 1, 2] == targets[0, 2, 2] == targets.max()
