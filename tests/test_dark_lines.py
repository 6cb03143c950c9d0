"""Evidence of dark lines, finer than a patch, beside the logits of any model."""

import cv2
import numpy as np
import pytest

from anomaly import Inspector
from anomaly.evidence.dark_lines import line_scores


def cracked(size=384, seed=0):
    """Grainy grey with a thin dark line from left to right, and the line's rows by column."""
    image = np.random.default_rng(seed).normal(140, 8, (size, size, 3))
    rows = (size * (0.3 + 0.2 * np.arange(size) / size)).astype(int)
    image[rows, np.arange(size)] -= 40
    image[rows + 1, np.arange(size)] -= 40
    return image.clip(0, 255).astype(np.uint8), rows


def test_the_cells_of_a_line_are_found_within_its_patches():
    image, rows = cracked()
    found = line_scores(image, (384, 384), (128, 128))
    assert found.shape == (128, 128) and found.dtype == np.float32 and -24 <= found.min() < found.max() <= 16
    columns = np.arange(10, 118)  # the best cell of every column of cells is the line's
    assert np.abs(found[:, columns].argmax(0) - rows[columns * 3 + 1] / 3).max() <= 1.5
    assert np.median(found) < -3.5 < -1 < np.median(found.max(0))


def test_bright_lines_and_even_images_give_no_evidence():
    image, rows = cracked()
    bright = line_scores(255 - image, (384, 384), (128, 128))
    dark = line_scores(image, (384, 384), (128, 128))
    middle = (rows[60] // 3, 20)
    assert bright[middle] < -3 < dark[middle]
    even = np.full((90, 90, 3), 77, np.uint8)
    assert np.abs(line_scores(even, (384, 384), (128, 128)) + 4).max() < 0.1


@pytest.mark.parametrize("shape", [(70, 98), (500, 300), (12, 12)])
def test_images_of_any_shape_and_patches_of_any_size_are_taken(shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    found = line_scores(image, (518, 518), (148, 148))
    assert found.shape == (148, 148) and np.isfinite(found).all()


def test_exposure_and_contrast_do_not_matter():
    image, _ = cracked()
    darker = (image * 0.5 + 10).astype(np.float32).round().astype(np.uint8)
    one, other = (line_scores(each, (384, 384), (128, 128)) for each in (image, darker))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_the_tool_adds_them_finer_than_a_patch_and_says_so():
    image, rows = cracked()
    plain, more = (Inspector(dark_lines=w, smooth=0, guided=0, activation="logit") for w in (0.0, 2.0))
    assert more.describe()["dark_lines"] == 2.0 and more.point is None
    added = more.inspect(image).heatmap - plain.inspect(image).heatmap
    expected = cv2.resize(2 * line_scores(image, (384, 384), (128, 128)), (384, 384))
    assert np.corrcoef(added.ravel(), expected.ravel())[0, 1] > 0.99
    best = added[:, 40:340].argmax(0)
    assert np.median(np.abs(best - rows[40:340])) <= 2  # a patch is 12 pixels high


def test_tiles_are_searched_at_their_own_size():
    image, _ = cracked(768)
    found = Inspector(scales="2", dark_lines=1.0, smooth=0).inspect(image)
    assert found.heatmap.shape == (768, 768) and np.isfinite(found.heatmap).all()
