"""Lines by their course: responses of long, oriented filters, the classical detector of cracks and scratches.

A faint crack differs from its surroundings no more than a grain of the surface does; that it goes on is what
gives it away. Nothing here is learned. Letters: B images, H x W pixels, h x w patches.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from steervit.nano.host_ridges import LINES, kernels
from steervit.nano.host_ridges import RIDGES as RIDGES


@functools.lru_cache(maxsize=32)
def _spectra(width: float, length: float, radius: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """(orientations, height, width // 2 + 1): Fourier transform of the kernels centred on pixel 0; real, for each
    kernel equals itself turned by half a turn."""
    height, breadth = size
    centred = F.pad(
        torch.from_numpy(kernels(width, length, radius)).double(),
        (0, breadth - 2 * radius - 1, 0, height - 2 * radius - 1),
    )
    return torch.fft.rfft2(centred.roll((-radius, -radius), (1, 2))).real.float().to(device)


def ridges(grey: Tensor) -> Tensor:
    """Grey images (B, 1, H, W), H and W multiples of 4 -> (B, 6, H, W): dark, then bright lines, of each width.

    The strongest response over all orientations, positive where there is a line.
    """
    dark, bright = [], []
    for width, length, shrunk in LINES:
        found = _responses(F.avg_pool2d(grey, shrunk), width, length)
        dark.append(_resized(found.amax(1, keepdim=True), grey))
        bright.append(_resized(-found.amin(1, keepdim=True), grey))
    return torch.cat([*dark, *bright], 1)


def _responses(small: Tensor, width: float, length: float) -> Tensor:
    # (B, 1, H, W) -> (B, orientations, H, W). Kernels this large cost a third as much by way of Fourier transforms.
    height, breadth = small.shape[-2:]
    radius = min(int(2 * length), min(height, breadth) - 1)
    padded = F.pad(small, (radius, radius, radius, radius), mode="reflect")
    padded = padded - padded.mean((2, 3), keepdim=True)  # smaller numbers, smaller rounding errors
    if torch.compiler.is_exporting():  # other runtimes have slow transforms or none
        return F.conv2d(padded, torch.from_numpy(kernels(width, length, radius))[:, None])
    size = (_smooth(padded.shape[2]), _smooth(padded.shape[3]))
    spectrum = torch.fft.rfft2(padded, s=size) * _spectra(width, length, radius, size, small.device)
    found = torch.fft.irfft2(spectrum, s=size)
    return found[..., radius : radius + height, radius : radius + breadth]


def _smooth(size: int) -> int:
    # The next multiple of 16: transforms of sizes with small prime factors are fast.
    return -(-size // 16) * 16


def _resized(response: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(response, size=like.shape[-2:], mode="bilinear", align_corners=False)
