"""Which pictures have arrived in a folder and stand still. Knows names, sizes and times of files; opens none.

A file stands still when its size and time of change are the same for a while, by this machine's own clock: the clock
of a camera's computer or of a share may be any.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from anomaly.pictures.suffixes import is_image_name
from anomaly.runs.stamps import Stamp, stamp_of

LISTEN_AGAIN = 1.0  # s until a folder that was gone is listened to again
LOST_AFTER_MS = 1000  # without a change, after which we look whether the folder is still there


@dataclass(frozen=True)
class Arrival:
    """A picture that arrived at `path` (absolute), as it was when it stood still; `since` is `time.monotonic` then."""

    path: Path
    stamp: Stamp
    since: float


class Arrivals:
    """The pictures below `root`, at any depth, that `known` does not know, until they stand still for `settle` s.

    `known` is asked with a path and its stamp. Hidden files and folders are passed over, as is what lies in `skip`.
    """

    def __init__(
        self,
        root: Path,
        known: Callable[[Path, Stamp], bool],
        skip: Sequence[Path] = (),
        settle: float = 0.3,
    ) -> None:
        self.root, self.settle = _absolute(root), settle
        self._known, self._skip = known, {_absolute(path) for path in skip}
        self._waiting: dict[Path, tuple[Stamp, float]] = {}

    @property
    def waiting(self) -> int:
        """How many have been seen and not yet handed out."""
        return len(self._waiting)

    def look(self, below: Path | None = None) -> None:
        """See what is there: all of the folder, or one file or folder of it that changed."""
        for path in self._pictures(below or self.root):
            stamp = stamp_of(path)
            if stamp == (None, None) or self._known(path, stamp):
                self._waiting.pop(path, None)
            elif path not in self._waiting:
                self._waiting[path] = stamp, time.monotonic()

    def ready(self) -> list[Arrival]:
        """Those that stand still now, the oldest first; they are handed out once."""
        found, now = [], time.monotonic()
        for path, (stamp, since) in list(self._waiting.items()):
            if (seen := stamp_of(path)) == (
                None,
                None,
            ):  # moved on, or written under a name for the time being
                del self._waiting[path]
            elif seen != stamp:
                self._waiting[path] = seen, now
            elif now - since >= self.settle:
                found.append(Arrival(path, stamp, since))
                del self._waiting[path]
        return sorted(found, key=lambda one: (one.stamp[1] or 0, one.path))

    def again(self, arrival: Arrival) -> None:
        """Take one back that could not be read yet: it has to stand still once more."""
        self._waiting[arrival.path] = arrival.stamp, arrival.since

    def _pictures(self, at: Path) -> Iterator[Path]:
        if self._is_skipped(at):
            return
        if not at.is_dir():
            if is_image_name(at.name):
                yield at
            return
        for here, folders, files in os.walk(at):
            inside = Path(here)
            folders[:] = sorted(
                one for one in folders if not one.startswith(".") and inside / one not in self._skip
            )
            yield from (inside / name for name in sorted(files) if is_image_name(name))

    def _is_skipped(self, path: Path) -> bool:
        below = path.relative_to(self.root).parts if self.root in path.parents else ()
        hidden = any(part.startswith(".") for part in below[:-1])
        return hidden or bool(self._skip & {path, *path.parents})


class Events:
    """What the operating system says has changed below `root`, by `watchfiles`, in a thread of its own.

    A folder that was taken away and came back, such as a share, is listened to anew, and named as changed itself.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._changed, self._stop = root, SimpleQueue[Path](), threading.Event()
        self._listening = False
        self._thread = threading.Thread(target=self._go_on, name="folder events", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether changes are heard now; not while the folder is gone."""
        return self._listening

    def wait(self, seconds: float) -> list[Path]:
        """Wait up to so long for the next change; all that have come by then."""
        found = []
        with suppress(Empty):
            found.append(self._changed.get(timeout=seconds))
            while True:
                found.append(self._changed.get_nowait())
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Listen no more."""
        self._stop.set()
        self._thread.join(5)

    def _go_on(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError, RuntimeError):  # the folder is gone, or no more watches: looking goes on
                self._listen(_identity(self._root))
            self._listening = False
            self._stop.wait(LISTEN_AGAIN)

    def _listen(self, identity: tuple[int, int]) -> None:
        """Until it is another folder, or none, that has this name."""
        from watchfiles import Change, watch

        for changes in watch(
            self._root,
            watch_filter=None,
            step=20,
            debounce=100,
            stop_event=self._stop,
            raise_interrupt=False,
            rust_timeout=LOST_AFTER_MS,
            yield_on_timeout=True,
        ):
            if _identity(self._root) != identity:
                return
            if not self._listening:
                self._listening = True
                self._changed.put(self._root)  # what came before we listened
            for kind, path in changes:
                if kind != Change.deleted:
                    self._changed.put(Path(path))


def _identity(path: Path) -> tuple[int, int]:
    """Which folder it is that has this name now. Raises `OSError` for none."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  links keep the names their user gave them
