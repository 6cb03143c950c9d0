"""Machine-vision cameras (GigE Vision, USB3 Vision) through `harvesters` and the camera maker's GenTL producer."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.line.frames import Source, SourceLost

TIMEOUT = 5.0  # s, for a frame
PRODUCERS = "GENICAM_GENTL64_PATH"  # where the standard says that producers are listed
_FROM_BAYER = {
    "BayerRG8": cv2.COLOR_BayerRGGB2RGB, "BayerGR8": cv2.COLOR_BayerGRBG2RGB,
    "BayerGB8": cv2.COLOR_BayerGBRG2RGB, "BayerBG8": cv2.COLOR_BayerBGGR2RGB,
}  # fmt: skip


def opener(id: str, cti: Path | None) -> Callable[[], Source]:
    """Opens the camera whose serial number is `id`, or the first. Raises `SteerAnomalyError` for what is missing."""
    if find_spec("harvesters") is None:
        raise SteerAnomalyError(
            "a GenICam camera needs harvesters, which a plain installation leaves out: "
            "pip install 'steer-anomaly[genicam]'"
        )
    files = [cti] if cti else _producers()
    if not files or not all(file.is_file() for file in files):
        raise SteerAnomalyError(
            "expected the GenTL producer of the camera's maker (a .cti file): give it with --cti, or let "
            f"{PRODUCERS} name its folder, as the maker's installer does"
        )
    return lambda: GenicamSource(files, id)


def _producers() -> list[Path]:
    folders = [Path(one) for one in os.environ.get(PRODUCERS, "").split(os.pathsep) if one]
    return [file for folder in folders for file in sorted(folder.glob("*.cti"))]


class GenicamSource:
    """One camera. Raises `SourceLost` when there is none."""

    def __init__(self, files: list[Path], id: str) -> None:
        from harvesters.core import Harvester

        self._harvester = Harvester()
        try:
            for file in files:
                self._harvester.add_file(str(file))
            self._harvester.update()
            self._camera = self._harvester.create({"serial_number": id} if id else 0)
            self._camera.start()
        except Exception as error:  # each producer has errors of its own
            self._harvester.reset()
            raise SourceLost(f"cannot open the GenICam camera {id or '(the first)'}: {error}") from error

    def read(self) -> np.ndarray | None:
        """The next frame, RGB. Raises `SourceLost`."""
        try:
            with self._camera.fetch(timeout=TIMEOUT) as buffer:
                return to_rgb(buffer.payload.components[0])
        except SteerAnomalyError:
            raise
        except Exception as error:
            raise SourceLost(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.stop()
        self._camera.destroy()
        self._harvester.reset()


def to_rgb(component: Any) -> np.ndarray:
    """A buffer's picture (`data`, `width`, `height`, `data_format`) as RGB uint8 H x W x 3, a copy.

    Raises `SteerAnomalyError` for pixel formats other than 8-bit grey, RGB, BGR and Bayer.
    """
    kind, size = str(component.data_format), (component.height, component.width)
    if kind == "Mono8":
        return cv2.cvtColor(component.data.reshape(size), cv2.COLOR_GRAY2RGB)
    if kind in _FROM_BAYER:
        return cv2.cvtColor(component.data.reshape(size), _FROM_BAYER[kind])
    if kind in ("RGB8", "BGR8"):
        image = component.data.reshape(*size, 3)
        return np.ascontiguousarray(image[..., ::-1] if kind == "BGR8" else image).copy()
    raise SteerAnomalyError(
        f"expected 8-bit pixels (Mono8, RGB8, BGR8, BayerRG8 or its kin), the camera sends {kind}: set its PixelFormat"
    )
