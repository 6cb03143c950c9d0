"""Tells the sinks of every part that the service judged, before anybody has its answer. Knows no sink itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from anomaly.inspection import Region
from anomaly.line.messages import verdict_of
from anomaly.runs.rows import ImageRow

SOURCE = "serve"


class Taking(Protocol):
    """What is needed of `anomaly.line.outbox.Sinks`."""

    def send(self, verdict: dict[str, Any]) -> None:
        """Keep a message for every sink."""

    def close(self) -> None:
        """Deliver what can be delivered, keep the rest."""


class Telling:
    """Hands parts to `sinks` one at a time; a part's future is done once its message cannot be lost."""

    def __init__(self, sinks: Taking) -> None:
        self._sinks, self._one = sinks, ThreadPoolExecutor(1, "telling")

    def tell(
        self, number: int, record: Mapping[str, Any], drift: Callable[[], dict[str, Any] | None]
    ) -> Future[None]:
        """A part as the store keeps it, with its id there, and how to ask for the drift. Fails as `Sinks.send` does."""
        return self._one.submit(lambda: self._sinks.send(message_of(number, record, drift())))

    def close(self) -> None:
        """Hand over what is left."""
        self._one.shutdown()
        self._sinks.close()


def message_of(number: int, record: Mapping[str, Any], drift: dict[str, Any] | None) -> dict[str, Any]:
    """The part as sinks get it, from whatever command; its id is of the part, its time and its content."""
    named = json.dumps([number, record["received"], record["content"]])
    found = json.loads(record["answer"])
    row = ImageRow(
        file=record["name"] or f"part {number}", name=str(number), path="", size=None, mtime_ns=None,
        object=record["object"], verdict=record["verdict"], score=record["score"], threshold=record["threshold"],
        p_value=record["p_value"], spreads=record["spreads"], regions=tuple(Region(**one) for one in found["regions"]),
        error=" ".join(found["unfit"]) or None,
    )  # fmt: skip
    id = hashlib.sha256(named.encode()).hexdigest()[:32]
    return verdict_of(row, id, record["received"], SOURCE, record["profile"], drift)
