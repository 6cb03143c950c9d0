"""Maps that follow their picture: cases by hand, least squares written out, a region of interest, the tool."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from anomaly.guided import BLUR, GAIN, RIDGE, ROUGH, SPREAD, STEP, follow, follow_sum
from anomaly.inspector import Inspector
from anomaly.runs.observations import Observations
from anomaly.settings import InspectionSettings

SIDE, EDGE = 48, 24


def halves() -> np.ndarray:
    """Dark on the left, bright on the right."""
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[:, EDGE:] = 200
    return picture


def soft_step() -> np.ndarray:
    """A map of the right half that a coarse grid has spread over the edge."""
    across = 1 / (1 + np.exp(-(np.arange(SIDE) - EDGE + 0.5) / 4))
    return np.tile(across.astype(np.float32), (SIDE, 1))


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def textured(seed: int = 0, height: int = 24, width: int = 32) -> np.ndarray:
    smooth = gaussian_filter(noise(seed, height, width, 3), (2, 2, 0))
    return (np.clip(0.5 + 3 * (smooth - 0.5), 0, 1) * 255).astype(np.uint8)


def test_where_the_picture_has_an_edge_the_map_gets_one():
    before, after = soft_step()[EDGE], follow(soft_step(), halves(), 24)[EDGE]
    assert after[EDGE + 4] - after[EDGE - 5] > 1.3 * (before[EDGE + 4] - before[EDGE - 5])
    assert np.abs(after[[2, -3]] - before[[2, -3]]).max() < 0.08


def test_where_the_picture_says_nothing_the_map_stays():
    heatmap = noise(1, SIDE, SIDE)
    assert follow(heatmap, np.full((SIDE, SIDE, 3), 90, np.uint8), 12) == pytest.approx(heatmap, abs=1e-6)


def test_a_map_that_the_picture_explains_wholly_stays():
    picture = textured()
    heatmap = 3 * gaussian_filter(picture[..., 0] / np.float32(255), BLUR, mode="mirror") - 1
    assert follow(heatmap, picture, 8) == pytest.approx(heatmap, abs=0.02)


def test_values_stay_within_the_range_they_had():
    heatmap = 100 * noise(3, 24, 32)
    after = follow(heatmap, textured(), 8)
    assert after.dtype == np.float32 and not np.array_equal(after, heatmap)
    assert heatmap.min() <= after.min() and after.max() <= heatmap.max()


@pytest.mark.parametrize("shape", [(24, 32), (21, 30)])
def test_it_is_ridge_regression_in_windows(shape):
    """Every cell's least squares by `numpy.linalg.lstsq` on its very pixels, in float64."""
    picture, heatmap, reach = textured(5, *shape), gaussian_filter(noise(6, *shape), 1), 2
    if (
        shape[0] % STEP
    ):  # sides that are no whole cells: the shape is kept; values are checked where they are whole
        padded = [np.pad(one, ((0, 3), (0, 2), (0, 0))[: one.ndim], "reflect") for one in (picture, heatmap)]
        assert follow(heatmap, picture, reach * STEP).shape == shape
        picture, heatmap = padded
    expected = by_least_squares(heatmap.astype(np.float64), picture, reach)
    assert follow(heatmap, picture, reach * STEP) == pytest.approx(expected, abs=2e-4)


def by_least_squares(heatmap: np.ndarray, picture: np.ndarray, reach: int) -> np.ndarray:
    guide = guide_of(picture)
    h, w = heatmap.shape[0] // STEP, heatmap.shape[1] // STEP
    lines = np.zeros((h, w, 6))
    for i in range(h):
        for j in range(w):
            pixels = [np.s_[STEP * a : STEP * a + STEP, STEP * b : STEP * b + STEP]
                      for a in near(i, reach, h) for b in near(j, reach, w)]  # fmt: skip
            x = np.concatenate([guide[at].reshape(-1, 4) for at in pixels])
            y = np.concatenate([heatmap[at].ravel() for at in pixels])
            lines[i, j] = line_of(x, y)
    means = np.array([[lines[np.ix_(near(i, reach, h), near(j, reach, w))].mean((0, 1)) for j in range(w)]
                      for i in range(h)])  # fmt: skip
    rows, columns = bilinear(h, heatmap.shape[0]), bilinear(w, heatmap.shape[1])
    fine = np.einsum("yi,xj,ijc->yxc", rows, columns, means)
    fitted = (fine[..., :4] * guide).sum(-1) + fine[..., 4]
    return np.clip(heatmap + fine[..., 5] * (fitted - heatmap), heatmap.min(), heatmap.max())


def guide_of(picture: np.ndarray) -> np.ndarray:
    colours = picture / 255
    grey = colours.mean(2)
    rough = gaussian_filter(np.abs(grey - gaussian_filter(grey, ROUGH, mode="mirror")), SPREAD, mode="mirror")
    return np.dstack([gaussian_filter(colours, (BLUR, BLUR, 0), mode="mirror"), GAIN * rough])


def line_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slopes, constant, and the share of the variance: ridge regression as least squares with four more rows."""
    centred = np.vstack([x - x.mean(0), np.sqrt(RIDGE * len(x)) * np.eye(4)])
    slopes = np.linalg.lstsq(centred, np.append(y - y.mean(), np.zeros(4)), rcond=None)[0]
    share = slopes @ ((x - x.mean(0)) * (y - y.mean())[:, None]).mean(0) / y.var()
    return np.array([*slopes, y.mean() - slopes @ x.mean(0), np.clip(share, 0, 1)])


def near(place: int, reach: int, count: int) -> list[int]:
    """Places within reach, mirrored about the outermost."""
    around = np.abs(np.arange(place - reach, place + reach + 1))
    return np.where(around >= count, 2 * (count - 1) - around, around).tolist()


def bilinear(count: int, size: int) -> np.ndarray:
    """(size, count) weights of linear interpolation with half-pixel centres."""
    at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(count)))


def test_nothing_outside_the_region_of_interest_counts():
    inside = np.zeros((24, 32), bool)
    inside[4:20, 6:24] = True
    heatmap, picture = noise(7, 24, 32), textured()
    other = np.where(inside, heatmap, 50 * noise(8, 24, 32)).astype(np.float32)
    found, same = follow(heatmap, picture, 8, inside), follow(other, picture, 8, inside)
    assert found[inside] == pytest.approx(same[inside], abs=1e-5)
    assert (found[~inside] == heatmap[inside].min()).all()
    everywhere = follow(heatmap, picture, 8, np.ones_like(inside))
    assert everywhere == pytest.approx(follow(heatmap, picture, 8), abs=1e-5)


def test_a_single_pixel_and_a_picture_of_another_size():
    assert follow(np.full((1, 1), 0.3, np.float32), np.zeros((1, 1, 3), np.uint8), 35)[0, 0] == pytest.approx(
        0.3
    )
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        follow(np.zeros((4, 4), np.float32), np.zeros((5, 4, 3), np.uint8), 2)


# In the tool ---------------------------------------------------------------------------------------------


def test_the_inspector_follows_the_picture_and_scores_before_it():
    picture = textured(9, 96, 96)
    follows, not_so = (Inspector("nano", guided=radius).inspect(picture, "part") for radius in (35, 0))
    assert follows.score == not_so.score
    assert not np.allclose(follows.heatmap, not_so.heatmap, atol=1e-3)
    assert follows.heatmap.max() <= not_so.heatmap.max() + 0.05


def test_off_is_no_setting_and_another_radius_another_hash():
    settings = Inspector("nano", guided=0).settings
    assert settings.guided is None
    before = {name: value for name, value in settings.to_dict().items() if name != "guided"}
    assert InspectionSettings.from_dict(before).hash == settings.hash  # of a version that had no such setting
    assert replace(settings, guided=35.0).hash != settings.hash


def test_a_kept_observation_has_its_picture(tmp_path):
    inspector = Inspector("nano")
    (seen,) = inspector.observe([textured(10, 60, 80)], "part")
    assert seen.picture is not None and seen.picture.shape == (*seen.seen_hw, 3)
    kept = Observations(tmp_path, inspector.description_hash)
    kept.save("a", seen, (1, 2))
    again = kept.load("a")
    assert np.array_equal(again.picture, seen.picture)
    first, second = inspector.conclude(seen), inspector.conclude(again)
    assert np.array_equal(first.heatmap, second.heatmap)
    (alone,) = Inspector("nano", guided=0).observe([textured(10, 60, 80)], "part")
    assert alone.picture is None


def test_a_map_alone_follows_as_it_is_and_a_sum_of_z_scores_by_its_square():
    (side, _) = Inspector("nano").settings.image_size
    picture, good = textured(11, side, side), [textured(seed, 96, 96) for seed in (12, 13)]
    for references, followed in (((), follow), (good, follow_sum)):
        given = {"references": references}
        plain, follows = (Inspector("nano", guided=g, **given).inspect(picture, "part") for g in (0, 35))
        assert follows.heatmap == pytest.approx(followed(plain.heatmap, picture, 35), abs=1e-5)
    squares = follow(plain.heatmap * plain.heatmap, picture, 35)
    assert follow_sum(plain.heatmap, picture, 35) ** 2 == pytest.approx(squares, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("scales", ["1", "2", "1,2"])
def test_the_picture_is_the_one_that_the_model_saw(scales):
    image = textured(14, 70, 90)
    (seen,) = Inspector("nano", scales=scales).observe([image], "part")
    expected = Image.fromarray(image).resize(seen.seen_hw[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(seen.picture, np.asarray(expected))
