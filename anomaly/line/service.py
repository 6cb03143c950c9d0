"""The service itself: a picture comes in, is judged, kept, counted and answered. Knows no HTTP but its refusals."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence.descriptions import content_hash
from anomaly.inspection import Inspection
from anomaly.inspector import Inspector
from anomaly.line.answers import answer_of, record_of
from anomaly.line.batching import Batcher, Full, Stopped
from anomaly.line.darkness import BLACK, is_black
from anomaly.line.following import Following
from anomaly.line.learning import Learner
from anomaly.line.limits import Limits, Refusal
from anomaly.line.measures import Measures
from anomaly.line.neighbours import Neighbours
from anomaly.line.shelf import Ready, Shelf
from anomaly.line.store import Store
from anomaly.line.telling import Taking, Telling
from anomaly.line.uploaded import Photographs, UnusablePhoto
from anomaly.pictures.overlay import ColorScale
from anomaly.prompts import object_name

LONGEST_PART = 100  # characters of a part's name
READING = 2  # threads that decode pictures
TOO_LATE = "expected the picture's turn to come, it waited too long; send it again"
CLEANED = 200  # parts after which old photographs are removed
log = logging.getLogger("steer_anomaly.line")


class Service:
    """All that lives as long as the process.

    At most `keep` photographs of parts are kept; `sinks` get verdicts; `cores` compute.
    """

    def __init__(
        self, shelf: Shelf, data: Path, limits: Limits, keep: int = 10_000, sinks: Taking | None = None, cores: int = 1
    ) -> None:  # fmt: skip
        self.shelf, self.limits, self._data, self._keep = shelf, limits, data, keep
        self.store = Store(data)
        self.photographs = Photographs(data, limits.pixels)
        self.photographs.remove_all_but(self.store.photos())  # before any comes
        self.batcher = Batcher(limits.waiting, limits.waiting_pixels, cores)
        self.learner = Learner(shelf, self.store, self.photographs, self.batcher)
        self.neighbours = Neighbours(self.store, self.photographs)
        self.measures = Measures(lambda: self.batcher.waiting)
        self.telling = None if sinks is None else Telling(sinks)
        self.is_ready = threading.Event()
        self._following: dict[str, tuple[str, Following]] = {}
        self._scales: dict[str, ColorScale] = {}
        self._lock = threading.Lock()
        self._reading = ThreadPoolExecutor(READING, "reading")

    def warm_up(self) -> None:
        """Load the model and every profile, so that the first part does not wait; what is broken is logged."""
        for name in self.shelf.names():
            try:
                self.shelf.ready(name)
            except SteerAnomalyError as error:
                log.warning("%s", error)
        if not self.shelf.names():
            self.shelf.alone(self.shelf.only_part or "part")
        self.is_ready.set()

    def stop(self) -> None:
        """Finish what is queued, keep it, and let go of the files."""
        self.batcher.stop()
        self._reading.shutdown()
        self.learner.stop()
        if self.telling is not None:
            self.telling.close()
        self.store.close()

    # Inspecting --------------------------------------------------------------------------------------------

    async def inspect(
        self, name: str | None, data: bytes, profile: str | None, part: str | None, maps: bool = False
    ) -> dict[str, Any]:
        """The answer for one picture, which is kept by then. Raises `Refusal`."""
        began, loop = time.perf_counter(), asyncio.get_running_loop()
        self._check_room()
        with self.batcher.arriving():
            inspector, ready, called = await loop.run_in_executor(self._reading, self._who, profile, part)
            photo, image = await loop.run_in_executor(self._reading, self._photo, data)
            queued = self._queued(inspector, called, image, photo)
        found = await self._judged(queued, image, photo)
        record = await loop.run_in_executor(self._reading, self._record, found, image, ready, name, photo)
        number = await self._kept(record, photo)
        await self._told(number, record, ready)
        self._count(number, record, found, ready, began)
        return answer_of(number, record, found if maps else None)

    def _check_room(self) -> None:
        try:
            self.batcher.check_room()
        except (Full, Stopped) as error:
            raise _busy(error) from error

    def _queued(self, inspector: Inspector, part: str, image: np.ndarray, photo: str) -> Future:
        try:
            return self.batcher.submit(inspector, part, image)
        except (Full, Stopped) as error:
            self.photographs.remove([photo])
            raise _busy(error) from error

    async def _judged(self, queued: Future, image: np.ndarray, photo: str) -> Inspection:
        """What was found; the photograph of a part without an answer is not kept."""
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(queued), self.limits.answer_seconds)
            if not isinstance(found, NotJudged) and found.verdict == "ok" and is_black(image):
                found = NotJudged(BLACK)
            if isinstance(found, NotJudged):
                raise Refusal(
                    422, "not-judged", f"{found}; look at the picture, it is neither ok nor a defect"
                )
            return found
        except TimeoutError as error:
            self.photographs.remove([photo])
            raise Refusal(503, "too-late", TOO_LATE, self.batcher.seconds) from error
        except BaseException:
            self.photographs.remove([photo])
            raise

    def _who(self, profile: str | None, part: str | None) -> tuple[Inspector, Ready | None, str]:
        """Who judges it, and what the part is called."""
        if (profile is None) == (part is None):
            raise Refusal(
                400, "profile-or-object", "expected either `profile` or `object`, got both or neither"
            )
        if profile is not None:
            ready = self.ready(profile)
            return ready.inspector, ready, ready.profile.object
        assert part is not None
        called = part.strip()
        if not called or len(called) > LONGEST_PART or not called.isprintable():
            raise Refusal(
                400, "object", f"expected a part's name of at most {LONGEST_PART} characters, such as bottle"
            )
        return self.shelf.alone(object_name(called)), None, called

    def ready(self, profile: str) -> Ready:
        """The profile of that name. Raises `Refusal` where there is none, or it is broken."""
        try:
            found = self.shelf.ready(profile)
        except SteerAnomalyError as error:
            raise Refusal(409, "broken-profile", self.without_paths(str(error))) from error
        if found is None:
            known = ", ".join(self.shelf.names()) or "none yet"
            raise Refusal(
                404, "no-such-profile", f"expected a profile that is here ({known}), got another name"
            )
        return found

    def _photo(self, data: bytes) -> tuple[str, np.ndarray]:
        try:
            return self.photographs.keep(data)
        except UnusablePhoto as error:
            raise Refusal(413 if error.code == "too-many-pixels" else 422, error.code, str(error)) from error
        except OSError as error:
            raise self.no_space(error) from error

    def _record(
        self, found: Inspection, image: np.ndarray, ready: Ready | None, name: str | None, photo: str
    ) -> dict[str, Any]:
        digest = ready.profile.digest if ready else None
        scale = self._scales.get(digest or found.object)
        if scale is None:
            scale = ColorScale.from_heatmap(found.heatmap, found.threshold)
            self._scales[digest or found.object] = scale
        return record_of(
            found, image, scale, name=name, content=content_hash(image), photo=photo, digest=digest,
            profile=ready.name if ready else None, version=ready.version.number if ready else None,
        )  # fmt: skip

    async def _kept(self, record: dict[str, Any], photo: str) -> int:
        try:
            return await asyncio.wrap_future(self.store.add(record))
        except sqlite3.Error as error:
            self.photographs.remove([photo])
            raise self.no_space(error) from error

    async def _told(self, number: int, record: dict[str, Any], ready: Ready | None) -> None:
        if self.telling is None:
            return

        def drift() -> dict[str, Any] | None:
            if ready is None:
                return None
            following = self.following(ready).drift
            return {"alarm": following.alarm, "capital": following.capital}

        try:
            await asyncio.wrap_future(self.telling.tell(number, record, drift))
        except SteerAnomalyError as error:
            raise self.no_space(error) from error

    def no_space(self, error: Exception) -> Refusal:
        """What is said where a result cannot be kept; the log says why."""
        log.error("cannot keep a result: %s", error)
        return Refusal(
            507, "not-kept", "the result could not be kept, so it does not count; see the service's disk"
        )

    def _count(
        self, number: int, record: dict[str, Any], found: Inspection, ready: Ready | None, began: float
    ) -> None:
        name = ready.name if ready else ""
        self.measures.verdicts.labels(name, record["verdict"]).inc()
        self.measures.inspection.observe(found.milliseconds / 1000)
        self.measures.seconds.labels("inspect").observe(time.perf_counter() - began)
        if ready is not None:
            self._reading.submit(self._follow, ready, number, record["verdict"], record["score"])
        if number % CLEANED == 0:
            self._reading.submit(lambda: self.photographs.remove(self.store.forget_photos(self._keep)))

    # Drift -------------------------------------------------------------------------------------------------

    def following(self, ready: Ready) -> Following:
        """The drift of a profile's version, from all its parts so far."""
        with self._lock:
            digest, found = self._following.get(ready.name, ("", None))
            if found is None or digest != ready.version.sha256:
                found = Following(ready.profile, self.store.scores(ready.name, ready.version.number))
                self._following[ready.name] = (ready.version.sha256, found)
            return found

    def _follow(self, ready: Ready, number: int, verdict: str, score: float) -> None:
        following = self.following(ready)
        with self._lock:
            if following.take(number, verdict, score):
                log.warning("%s: drift since part %d. %s", ready.name, number, following.drift.sentence())
            self.measures.capital.labels(ready.name).set(following.drift.capital)
            self.measures.alarm.labels(ready.name).set(following.drift.alarm)
            self.measures.version.labels(ready.name).set(ready.version.number)

    # -------------------------------------------------------------------------------------------------------

    def without_paths(self, message: str) -> str:
        """A message as it may leave the machine."""
        for folder in (self._data, self.shelf.folder):
            for path in {str(folder), str(folder.absolute())}:
                message = message.replace(f"{path}/", "").replace(path, "the folder")
        return message


def _busy(error: Full | Stopped) -> Refusal:
    if isinstance(error, Full):
        return Refusal(
            429, "full", f"too many pictures wait; send it again in {error.seconds} s", error.seconds
        )
    return Refusal(503, "stopping", "the service is being stopped; send it again when it is back", 5)
