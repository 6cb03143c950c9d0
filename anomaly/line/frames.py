"""Frames of a camera, a stream or a video file: the newest wins. Knows nothing of parts or verdicts.

A live source is read in a thread of its own as fast as it gives frames, so that none is old when it is taken; what
nobody has room for is dropped and counted, and a source that was lost is opened again. A file waits.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # s before a source is opened again, doubled each time
MOST_MISSED = 1000  # dropped frames that are remembered until somebody asks, without their pictures
TIMEOUT_MS = 5000  # for a stream to open and to give a frame
GENICAM = "genicam"
NOTHING = np.zeros((0, 0, 3), np.uint8)


class SourceLost(Exception):
    """The source cannot be opened, or gives no more frames; why."""


@dataclass
class Frame:
    """A picture (RGB uint8 H x W x 3), when it was there (seconds since 1970), its number, and who waits for it."""

    image: np.ndarray
    time: float
    number: int
    answers: list[Future[Any]] = field(default_factory=list)


class Source(Protocol):
    """What gives frames."""

    def read(self) -> np.ndarray | None:
        """The next frame, RGB uint8 H x W x 3; None at the end of a file. Raises `SourceLost`."""

    def close(self) -> None:
        """Let go of it."""


class Trigger(Protocol):
    """Which frames are parts. Asked in the thread that reads."""

    ended: bool

    def wants(self, frame: Frame, began: float) -> bool:
        """Whether to judge this frame, which was asked for at `began` (`time.monotonic`)."""


class Frames:
    """Frames that `trigger` wants, from what `opened` opens, at most `depth` waiting; use it in a `with` statement.

    `live` says that frames do not wait: the oldest is dropped when there is no room. `warn` is told what is wrong.
    """

    def __init__(
        self,
        opened: Callable[[], Source],
        trigger: Trigger,
        live: bool,
        depth: int = 1,
        warn: Callable[[str], object] = print,
    ) -> None:
        self.seen = self.dropped = 0
        self._opened, self._trigger, self._live, self._depth, self._warn = opened, trigger, live, depth, warn
        self._waiting: deque[Frame] = deque()
        self._missed: deque[Frame] = deque(maxlen=MOST_MISSED)
        self._changed, self._stop, self._over = threading.Condition(), threading.Event(), False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._go_on, name="camera", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether there will be no more frames, nor an error that `take` raises."""
        return (self._over or self._trigger.ended) and not self._waiting and self.error is None

    def take(self, seconds: float) -> Frame | None:
        """The frame whose turn it is, waiting up to so long for one. Raises what went wrong with a file."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over, seconds)
            frame = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
        if frame is None and self.error is not None:
            raise self.error
        return frame

    def missed(self) -> list[Frame]:
        """Frames that were dropped since this was asked, without their pictures."""
        found = []
        while self._missed:
            found.append(self._missed.popleft())
        return found

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(TIMEOUT_MS / 1000 + 1)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _go_on(self) -> None:
        try:
            if self._live:
                self._read_again_and_again()
            else:
                self._read(self._opened())
        except Exception as error:  # for whoever takes frames
            self.error = error if isinstance(error, SteerAnomalyError) else SteerAnomalyError(str(error))
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _read_again_and_again(self) -> None:
        wait, told = FIRST_WAIT, False
        while not self._stop.is_set():
            before = self.seen
            try:
                self._read(self._opened())
                reason = "it gives no more frames"
            except SourceLost as lost:
                reason = str(lost)
            if self._stop.is_set():
                return
            if self.seen > before:
                wait, told = FIRST_WAIT, False
            if not told:
                self._warn(f"no frames from the camera: {reason}; it is opened again until it gives some")
                told = True
            self._stop.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _read(self, source: Source) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                image = source.read()
                if image is None:
                    return
                self.seen += 1
                frame = Frame(image, time.time(), self.seen)
                if self._trigger.wants(frame, began):
                    self._put(frame)
        finally:
            source.close()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            if not self._live:
                self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._stop.is_set())
                if self._stop.is_set():
                    return
            while len(self._waiting) >= self._depth:
                self._drop(self._waiting.popleft())
            self._waiting.append(frame)
            self._changed.notify_all()

    def _drop(self, frame: Frame) -> None:
        self.dropped += 1
        for answer in frame.answers:
            answer.set_exception(SourceLost("dropped: newer frames came before this one could be judged"))
        self._missed.append(Frame(NOTHING, frame.time, frame.number))


def source_of(text: str, cti: Path | None = None) -> tuple[Callable[[], Source], bool]:
    """What opens the source that a user typed, and whether it is live.

    A number is a camera of this computer, an URL a stream, `genicam` or `genicam:ID` a machine-vision camera by the
    GenTL producer `cti`; else it is a video file. Raises `SteerAnomalyError`.
    """
    if text == GENICAM or text.startswith(f"{GENICAM}:"):
        from anomaly.line.genicam import opener

        return opener(text.partition(":")[2], cti), True
    if text.isascii() and text.isdigit():
        return lambda: VideoSource(int(text)), True
    if "://" in text:
        return lambda: VideoSource(text), True
    if Path(text).is_file():
        return lambda: VideoSource(text), False
    raise SteerAnomalyError(
        f"expected a camera's number, an rtsp:// or http:// address, genicam, or a video file, got {text!r}"
    )


class VideoSource:
    """A source that OpenCV reads. Raises `SourceLost` when it cannot be opened."""

    def __init__(self, place: int | str) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")  # fatal errors only: lost streams are told by us
        self._place = place
        if isinstance(place, str) and "://" in place:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
            self._capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
        else:
            self._capture = cv2.VideoCapture(place)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceLost(f"cannot open {_shown(place)}")

    def read(self) -> np.ndarray | None:
        """The next frame, RGB; None when there is none."""
        good, image = self._capture.read()
        if not good or image is None:
            return None
        if image.ndim == 2:
            return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Let go of the camera or file."""
        self._capture.release()


def _shown(place: int | str) -> str:
    """The place without a password."""
    from anomaly.line.sinks.delivery import without_password

    return f"camera {place}" if isinstance(place, int) else without_password(place)
