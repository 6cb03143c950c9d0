"""Oriented line filters: nano sees with them, and the tool finds dark lines."""

import numpy as np
import torch
from numpy.fft import irfft2, rfft2

from steervit.nano.ridges import LINES, RIDGES, ridges


def scene(seed=0, size=96):
    return torch.from_numpy(np.random.default_rng(seed).normal(0.5, 0.05, (1, 1, size, size))).float()


def with_line(grey, slope=0.5, by=-0.2):
    grey = grey.clone()
    for x in range(10, grey.shape[-1] - 10):
        y = round(20 + slope * (x - 10))
        grey[..., y : y + 2, x] += by
    return grey


def test_a_line_answers_along_its_course_in_its_own_sign():
    dark, bright = with_line(scene()), with_line(scene(), by=0.2)
    on, off = (slice(38, 42), slice(46, 54)), (slice(80, 90), slice(10, 30))
    half = len(LINES)
    for image, mine, other in ((dark, 0, half), (bright, half, 0)):
        found = ridges(image)[0]
        assert found.shape == (RIDGES, 96, 96)
        assert found[mine][on].max() > 4 * found[mine][off].mean().abs()
        assert found[mine][on].max() > 3 * found[other][on].mean().abs()
    assert torch.allclose(ridges(1 - dark)[:, half:], ridges(dark)[:, :half], atol=1e-5)


def test_an_even_slope_has_no_lines_and_a_line_goes_on_where_grains_do_not():
    even = torch.linspace(0, 1, 96).expand(1, 1, 96, 96)
    narrow = ridges(even)[:, :: len(LINES)]  # the border is out of its reach
    assert narrow[..., 40:56, 40:56].abs().max() < 1e-3
    line, grain = torch.full((1, 1, 96, 96), 0.5), torch.full((1, 1, 96, 96), 0.5)
    line[..., 48:50, 16:80] = 0.3
    grain[..., 46:50, 46:50] = 0.3
    assert ridges(line)[0, 0].max() > 1.5 * ridges(grain)[0, 0].max()


def test_the_strongest_orientation_equals_a_correlation_computed_otherwise():
    width, length, shrunk = LINES[0]
    grey = scene(3)
    small = grey[0, 0].double().view(48, 2, 48, 2).mean((1, 3)).numpy()
    assert shrunk == 2
    offsets = np.arange(-12, 13)
    best = np.full((48, 48), -np.inf)
    for k in range(12):
        a = np.pi * k / 12
        along = offsets[None] * np.cos(a) + offsets[:, None] * np.sin(a)
        across = offsets[:, None] * np.cos(a) - offsets[None] * np.sin(a)
        kernel = np.exp(-(along**2) / (2 * length**2) - across**2 / (2 * width**2)) * (
            across**2 / width**2 - 1
        )
        kernel -= kernel.mean()
        kernel /= np.sqrt((kernel**2).sum())
        padded = np.pad(small, 12, mode="reflect")
        size = (padded.shape[0] + 24, padded.shape[1] + 24)
        full = irfft2(rfft2(padded, size) * rfft2(kernel[::-1, ::-1], size), size)
        best = np.maximum(best, full[24:72, 24:72])
    found = ridges(grey)[0, 0].view(1, 1, 96, 96)
    centres = torch.nn.functional.interpolate(
        torch.from_numpy(best)[None, None].float(), size=(96, 96), mode="bilinear", align_corners=False
    )
    assert torch.allclose(found, centres, atol=1e-5)
