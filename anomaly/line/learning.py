"""From what people said of parts to the next version of a profile, which is proposed, shown, and then applied.

Only good parts that came up because they were called defective, or that nobody chose by their verdict, calibrate: parts
already judged ok would make the promise look better than it is. Knows no requests and no pages.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from anomaly.decision import profile as profiles
from anomaly.decision.calibrating import Calibrated, Good, Wish, calibrate, scored_alone
from anomaly.decision.gate import look
from anomaly.decision.profile import Profile
from anomaly.decision.split import thumbnail
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence.descriptions import content_hash
from anomaly.inspector import Inspector
from anomaly.line.batching import Batcher
from anomaly.line.proposals import Proposal
from anomaly.line.shelf import Ready, Shelf
from anomaly.line.store import Store
from anomaly.line.uploaded import Photographs, UnusablePhoto
from anomaly.line.versions import Version
from anomaly.prompts import object_name

LAST = 20  # parts whose verdict under a new version is shown
KEPT_OBSERVATIONS = 128  # good pictures that need not be observed again


class Learner:
    """Adds good pictures to profiles and proposes versions, one at a time, beside the line's own work."""

    def __init__(self, shelf: Shelf, store: Store, photographs: Photographs, batcher: Batcher) -> None:
        self._shelf, self._store, self._photographs, self._batcher = shelf, store, photographs, batcher
        self._proposals: dict[str, Proposal] = {}
        self._seen: OrderedDict[tuple[str, str], Good] = OrderedDict()
        self._one = threading.Lock()
        self._ending = threading.Event()

    def stop(self) -> None:
        """Let a calibration end with its next picture."""
        self._ending.set()
        with self._one:
            pass

    # What people say ---------------------------------------------------------------------------------------

    def told(self, part: Mapping[str, Any], was: str, note: str | None = None) -> str:
        """Keep that a part `was` "good" or a "defect"; what comes of it, in a sentence."""
        self._store.tell(part, was, note).result()
        profile, verdict = part["profile"], part["verdict"]
        if profile is None:
            return (
                "Kept. The part was judged by its name alone: there is no profile that could learn from it."
            )
        if was == "defect":
            self._store.remove_goods(profile, [part["content"]])
            known = "a miss: it is on the record of misses" if verdict == "ok" else "as it was judged"
            return f"Kept: a defect, {known}.{self._still_good(profile, part['content'])}"
        if verdict == "ok":
            return "Kept: good, as it was judged. Such a part does not calibrate: it was chosen by its low score."
        if part["photo"] is None:
            return "Kept: good. Its photograph is gone, so the profile cannot learn from it."
        self._store.add_good(profile, part["content"], part["photo"], part["name"], "false alarm", part["id"])
        self.propose(profile, Wish(), f"part {part['id']} was good")
        return "Kept: a false alarm. A new version of the profile is being made with it."

    def _still_good(self, profile: str, content: str) -> str:
        """What has to be done where the version that judges takes a defect for a good part."""
        try:
            ready = self._shelf.ready(profile)
        except SteerAnomalyError:  # broken; whoever asks it for a verdict is told
            ready = None
        if ready is None:
            return ""
        origin = ready.profile.provenance
        if content not in {*origin.references, *origin.calibration}:
            return ""
        return f" Version {ready.version.number} has it among its good parts: go back to one before it."

    def add_goods(self, profile: str, files: Iterable[tuple[str | None, bytes]]) -> dict[str, Any]:
        """Keep pictures of good parts for a profile, there or not yet: how many are new, there already, unusable."""
        self._shelf.versions(profile)  # refuses what is no name
        added, known, wrong = 0, 0, []
        for name, data in files:
            try:
                photo, image = self._photographs.keep(data)
            except UnusablePhoto as error:
                wrong.append({"name": name, "message": str(error)})
                continue
            if self._store.add_good(profile, content_hash(image), photo, name, "given"):
                added += 1
            else:
                known += 1
                self._photographs.remove([photo])
        return {
            "profile": profile,
            "added": added,
            "known": known,
            "unusable": wrong,
            "pictures": len(self._store.goods(profile)),
        }

    # Proposals ---------------------------------------------------------------------------------------------

    def proposal(self, profile: str) -> Proposal | None:
        """The last one for a profile."""
        return self._proposals.get(profile)

    def propose(self, profile: str, wish: Wish, reason: str, part: str | None = None) -> Proposal:
        """Begin to make the next version; `part` names what a profile that is not there yet shows."""
        found = Proposal(secrets.token_hex(8), profile, reason)
        self._proposals[profile] = found
        threading.Thread(
            target=self._make, args=(found, wish, part), name=f"calibrating {profile}", daemon=True
        ).start()
        return found

    def apply(self, profile: str, proposal: str) -> Version:
        """Make a proposal the version that judges. Raises `SteerAnomalyError` for one that is not ready, or old."""
        found = self._proposals.get(profile)
        if found is None or found.id != proposal or found.state != "ready" or found.made is None:
            raise SteerAnomalyError("expected a proposal that is ready, got another one; look at the newest")
        ready = self._shelf.ready(profile)
        if (ready.version.sha256 if ready else None) != found.base:
            raise SteerAnomalyError(
                "expected the version the proposal was made from, another one judges now; propose again"
            )
        if not found.contents <= {one["content"] for one in self._store.goods(profile)}:
            raise SteerAnomalyError(
                "expected the pictures the proposal was made of, some were taken out since; propose again"
            )
        version = self._shelf.versions(profile).add(found.made, found.reason)
        found.state = "applied"
        return version

    def _make(self, found: Proposal, wish: Wish, part: str | None) -> None:
        with self._one:
            if self._ending.is_set() or self._proposals.get(found.profile) is not found:
                found.state, found.message = (
                    "failed",
                    "a newer one took its place, or the service was stopped",
                )
                return  # a newer one knows all that this one does
            try:
                self._candidate(found, wish, part)
                found.state = "ready"
            except SteerAnomalyError as error:
                found.state, found.message = "failed", str(error)
            except Exception as error:
                found.state, found.message = (
                    "failed",
                    f"an error of the service itself ({type(error).__name__})",
                )
                raise

    def _candidate(self, found: Proposal, wish: Wish, part: str | None) -> None:
        ready, goods = self._shelf.ready(found.profile), self._store.goods(found.profile)
        recent = self._recent(found.profile) if ready else []
        found.base = ready.version.sha256 if ready else None
        found.contents = frozenset(one["content"] for one in goods)
        found.total = len(goods) + len(recent)
        made = self._calibrated(found, ready, goods, wish, part)
        found.made, found.message = made, made.promise.sentence()
        self._compare(found, self._shelf.inspector(made), recent)

    def _calibrated(
        self,
        found: Proposal,
        ready: Ready | None,
        goods: Sequence[Mapping[str, Any]],
        wish: Wish,
        part: str | None,
    ) -> Profile:
        """From scratch where every picture of the profile is here, else with what is new added to its calibration."""
        if ready is None:
            looking = self._shelf.fresh()
            seen = self._observed(found, goods, looking, object_name(part or found.profile))
            return self._told_outliers(found, calibrate(seen, looking, wish), goods)
        known, origin = ready.profile, ready.profile.provenance
        contents = {one["content"] for one in goods}
        if contents >= {*origin.references, *origin.calibration}:
            found.how = "calibrated anew: references and calibration by the split rule"
            looking = self._shelf.looking(known)
            seen = self._observed(found, goods, looking, known.object)
            return self._told_outliers(found, calibrate(seen, looking, _wish(known, wish)), goods)
        fresh = [one for one in goods if one["content"] not in {*origin.references, *origin.calibration}]
        found.how = "added to the calibration; the references stay: their pictures are not here"
        found.total -= len(goods) - len(fresh)
        seen = self._observed(found, fresh, ready.inspector, known.object)
        new, looks, pictures = scored_alone(seen, ready.inspector, known.promise.scoring)
        aimed = known.at(wish.false_alarms, wish.confidence, best_effort=True) if wish.false_alarms else known
        return profiles.extend(
            aimed, new, pictures, looks, best_effort=wish.best_effort or not known.promise.met
        )

    def _told_outliers(
        self, found: Proposal, made: Calibrated, goods: Sequence[Mapping[str, Any]]
    ) -> Profile:
        known = {_label(one): one for one in goods}
        found.outliers = [
            {"content": known[label]["content"], "name": label, "times": min(times, 1e6)}
            for label, times in made.outliers
        ]
        return made.profile

    def _observed(
        self, found: Proposal, goods: Sequence[Mapping[str, Any]], looking: Inspector, part: str
    ) -> list[Good]:
        seen = []
        for one in goods:
            self._check_going_on()
            seen.append(self._good(one, looking, part))
            found.done += 1
        return seen

    def _check_going_on(self) -> None:
        if self._ending.is_set():
            raise SteerAnomalyError(
                "the service was stopped before the calibration was done; propose it again"
            )

    def _good(self, one: Mapping[str, Any], looking: Inspector, part: str) -> Good:
        key = (f"{looking.settings.hash} {part}", one["content"])
        if key not in self._seen:
            image = self._photographs.read(one["photo"])
            with self._batcher.between():
                observed = looking.observe([image], part)[0]
            observed = replace(observed, look=None)
            self._seen[key] = Good(_label(one), one["content"], observed, thumbnail(image), look(image))
            while len(self._seen) > KEPT_OBSERVATIONS:
                self._seen.popitem(last=False)
        return self._seen[key]

    # What would change -------------------------------------------------------------------------------------

    def _recent(self, profile: str) -> list[dict[str, Any]]:
        """The last parts with a photograph, and all that are known to be defects."""
        last = [one for one in self._store.parts(4 * LAST, profile=profile) if one["photo"]][:LAST]
        defects = [one for one in self._store.told(profile) if one["was"] == "defect" and one["photo"]]
        return list({one["id"]: one for one in [*last, *defects]}.values())

    def _compare(self, found: Proposal, inspector: Inspector, recent: Sequence[Mapping[str, Any]]) -> None:
        for one in recent:
            self._check_going_on()
            found.looked(one, *self._again(one, inspector))

    def _again(self, part: Mapping[str, Any], inspector: Inspector) -> tuple[str, float | None]:
        try:
            image = self._photographs.read(part["photo"])
        except UnusablePhoto:
            return part["verdict"], part["score"]
        with self._batcher.between():
            found = inspector.inspect_batch([image], inspector.judge.profile.object)[0]  # type: ignore[union-attr]
        return ("failed", None) if isinstance(found, NotJudged) else (found.verdict, float(found.score))


def _wish(known: Profile, wish: Wish) -> Wish:
    """What is asked now, and where nothing is, what the profile promised."""
    promise = known.promise
    return replace(
        wish,
        false_alarms=wish.false_alarms or promise.target,
        confidence=promise.confidence if wish.confidence == Wish.confidence else wish.confidence,
        references=None if known.provenance.references else 0,
        best_effort=wish.best_effort or not promise.met,
    )


def _label(good: Mapping[str, Any]) -> str:
    """What a picture is called in sentences; no two are called alike."""
    return f"{good['name'] or 'picture'} ({good['content'][:6]})"
