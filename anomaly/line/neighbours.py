"""The nearest good picture to a part, by thumbnails of both: for people to look at; no verdict rests on it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np

from anomaly.decision.split import thumbnail
from anomaly.line.store import Store
from anomaly.line.uploaded import Photographs, UnusablePhoto

MOST = 60  # pictures that are compared
KEPT = 500  # thumbnails in memory


class Neighbours:
    """Looks among the good pictures of a profile, and parts it judged ok that nobody called a defect."""

    def __init__(self, store: Store, photographs: Photographs) -> None:
        self._store, self._photographs = store, photographs
        self._thumbnails: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def of(self, part: Mapping[str, Any]) -> dict[str, str | None]:
        """Address of the picture and what it is, in words; no address where there is none."""
        nothing = {"picture": None, "said": "No good picture to compare with is here yet."}
        own = self._thumbnail(part["photo"])
        found = [
            (self._thumbnail(one["photo"]), address, said) for one, address, said in self._candidates(part)
        ]
        near = [
            (float(np.square(other - own).sum()), address, said)
            for other, address, said in found
            if other is not None and own is not None
        ]
        if not near:
            return nothing
        _, address, said = min(near)
        return {"picture": address, "said": said}

    def _candidates(self, part: Mapping[str, Any]) -> list[tuple[dict[str, Any], str, str]]:
        goods = [
            (one, f"/v1/goods/{one['content']}?size=large", f"good picture {one['name'] or ''}".strip())
            for one in self._store.goods(part["profile"] or "")
            if one["content"] != part["content"]
        ]
        accepted = [
            (one, f"/v1/parts/{one['id']}/photograph", f"part {one['id']}, judged ok")
            for one in self._store.parts(MOST, profile=part["profile"], verdict="ok")
            if one["photo"]
            and one["id"] != part["id"]
            and one["was"] != "defect"
            and one["object"] == part["object"]
        ]
        return (goods[:MOST] + accepted)[:MOST]

    def _thumbnail(self, photo: str | None) -> np.ndarray | None:
        if photo is None:
            return None
        with self._lock:
            if photo in self._thumbnails:
                return self._thumbnails[photo]
        try:
            made = thumbnail(self._photographs.read(photo))
        except UnusablePhoto:
            return None
        with self._lock:
            self._thumbnails[photo] = made
            while len(self._thumbnails) > KEPT:
                self._thumbnails.popitem(last=False)
        return made
