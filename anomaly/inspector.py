"""The inspection itself: an image and the name of a part go in, an `Inspection` comes out.

Everything else of the tool reads inputs for it or writes what it found. Two steps: `observe` asks the model about one
image, `conclude` makes the heatmap and the verdict of it.
Letters: P prompts, T tiles, S the model's image side in pixels, h x w patches, H x W the image's own size.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly import heatmaps
from anomaly import prompts as prompt_sets
from anomaly.comparison import (
    OTHERS,
    Comparison,
    DescribedReferences,
    ReferenceSet,
    add_to,
    compare,
    in_company,
    sampled,
)
from anomaly.decision.gate import Look
from anomaly.decision.profile import Profile
from anomaly.decision.profiled import arguments_of, check_same
from anomaly.decision.threshold import OperatingPoint, valid_point, with_given
from anomaly.decision.verdict import Judge, judge_of
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence.descriptions import SEEN_BY
from anomaly.guided import follow, follow_sum
from anomaly.inspection import Inspection
from anomaly.model_files import FoundModel, find_model
from anomaly.observation import Observation
from anomaly.observer import Observer
from anomaly.pictures.images import as_rgb
from anomaly.prompts import PromptSet
from anomaly.regions import NO_LEAST, Least
from anomaly.roi import NoRoi, Roi, filled, smaller
from anomaly.settings import ENSEMBLES, InspectionSettings
from anomaly.tiles import parse_scales

if TYPE_CHECKING:
    from PIL.Image import Image

    from anomaly.bundle.opened import OpenedBundle
    from anomaly.evidence.mutual import FeatureStore, MutualSettings
    from anomaly.evidence.reference_check import Finding
    from steervit import SteerViT

    Picture = np.ndarray | Image | str | Path


class Inspector:
    """Finds defects with one model and one set of prompts.

    `model` is `nano`, a published model's name, a checkpoint file or folder, a bundle that `steer-anomaly export` wrote
    (its settings are fixed, and it needs no torch), or a loaded `SteerViT`, which stays as
    it is: omega, precision, device and prompts belong to the inspector.
    `prompts` is a set's name, a file, or a `PromptSet`. `omega` scales the text's influence (1 as trained).
    `activation`, `smooth` (Gaussian sigma in pixels of the model's image) and `scales` (such as "1,2": whole
    image and 2 x 2 tiles, averaged) default to what the model ships with, as do `threshold`, `mask_threshold`,
    `self_similarity`, the weight of how unlike the rest of its image each patch is, and `dark_lines`, that of lines
    darker than their surroundings (cracks, cuts, gaps), both in logits per z-score, and `guided`, how far around a
    pixel the map is fitted to the picture (px of the model's image; 0: not at all), see `anomaly.guided`.
    `references` are good pictures of the part to compare with; with `mutual` the pictures of `inspect_set` are
    compared with each other. Maps are then sums of z-scores, see `comparison`, and `activation` is "logit".
    `roi` and `ignore` say which pixels count, see `roi.Roi.of`: `auto` for the part against an even background, a box
    in pixels, masks. `least` is the smallest region that is a defect.
    `ensemble` "fused" runs all prompts as one, several times as fast with nearly the same maps; "cascade" lets each
    prompt look again where that map is highest (docs/speed.md).
    Weights are loaded with the first image, or by `prepare`. Raises `SteerAnomalyError` for bad settings.
    """

    def __init__(
        self,
        model: str | Path | SteerViT | FoundModel = "nano",
        *,
        prompts: str | Path | PromptSet = "default",
        omega: float = 1.0,
        activation: str | None = None,
        smooth: float | None = None,
        scales: str | None = None,
        self_similarity: float | None = None,
        dark_lines: float | None = None,
        guided: float | None = None,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        device: str | None = None,
        precision: str = "fp32",
        trunk: str | Path | None = None,
        text_encoder: str | Path | None = None,
        mutual: bool = False,
        references: Sequence[Picture] | ReferenceSet = (),
        roi: Picture | Sequence[int] | Roi | None = None,
        ignore: Picture | None = None,
        ensemble: str | None = None,
        least: Least = NO_LEAST,
    ) -> None:
        self._found = find_model(model, trunk, text_encoder)
        if (bundle := self._found.bundle) is not None:  # it says what is left at its default here
            asked = {"prompts": prompts, "omega": omega, "precision": precision, "references": references,
                     "roi": roi, "ignore": ignore, "ensemble": ensemble}  # fmt: skip
            prompts, omega, precision, references, roi, ignore, ensemble = bundle.arguments(asked).values()
        elif precision not in ("fp32", "bf16"):
            raise SteerAnomalyError(f"expected a precision of fp32 or bf16, got {precision!r}")
        if ensemble not in ENSEMBLES:
            raise SteerAnomalyError(
                f"expected an ensemble that is fused or cascade, or None for exact, got {ensemble!r}"
            )
        self.prompts = prompts if isinstance(prompts, PromptSet) else prompt_sets.load(prompts)
        self.record = self._found.record
        given = {
            "activation": activation or None, "smooth": smooth, "scales": scales or None,
            "self_similarity": self_similarity, "dark_lines": dark_lines, "guided": guided,
        }  # fmt: skip
        maps = asdict(self._found.defaults)
        maps |= {name: value for name, value in given.items() if value is not None}
        maps["guided"] = maps["guided"] or None  # what is off is no setting
        self.description = maps.pop("description")  # the word for what describes pictures
        self._seen_by = SEEN_BY["eyes" if self.description == "eyes" else "tokens"]
        self.mutual = mutual
        self.references = references if isinstance(references, ReferenceSet) else ReferenceSet.of(references)
        self.roi = Roi.of(roi, ignore)
        if company := self._company():
            maps["activation"] = in_company(activation)
        self.settings = InspectionSettings(
            model=self.record.name, hashes=tuple(sorted(self.record.hashes.items())),
            image_size=self._found.image_size, prompts=self.prompts.prompts, contrast=self.prompts.contrast,
            omega=float(omega), precision=precision, company=company, roi=self.roi.name,
            ignore=self.roi.ignored_name, ensemble=ensemble, **maps,
        )  # fmt: skip
        parse_scales(self.settings.scales)
        heatmaps.activate(np.zeros((1, 1)), self.settings.activation)  # a wrong name is said now
        measured = None if bundle is not None and mutual else self._found.point  # for pictures judged alone
        shipped, self.why_unjudged = valid_point(measured, self.settings)
        self.judge = Judge(with_given(shipped, threshold, mask_threshold, self.settings), least=least)
        if bundle is not None:
            bundle.check(self.settings, mutual)
            self.judge = self._judge_of(bundle, threshold, mask_threshold) or self.judge
        self.asked = self._found.opened(self.settings, self.prompts, device)
        self.device = self.asked.device
        self._observer = Observer(self.settings, self.asked)
        self._references: dict[str, DescribedReferences] = {}
        self._loading = RLock()

    @classmethod
    def from_profile(
        cls,
        profile: Profile,
        *,
        model: str | Path | SteerViT | FoundModel | None = None,
        trunk: str | Path | None = None,
        text_encoder: str | Path | None = None,
        device: str | None = None,
        gate: bool = True,
    ) -> Inspector:
        """An inspector that scores and judges as `profile` says, of the part `profile.object`.

        `model` says where the profile's model lies when it is not one of the list. Without `gate` no photograph is
        unfit. Raises `SteerAnomalyError` when the model's files or the settings are not those of the profile.
        """
        known = arguments_of(profile, model)
        found = known["model"] = find_model(known["model"], trunk, text_encoder)
        if found.bundle is not None and not known["mutual"]:
            found.bundle.check_profile(profile)
        made = cls(**known, device=device)
        check_same(profile, made.settings)
        made.judge = judge_of(profile, gate)
        return made

    def _judge_of(self, bundle: OpenedBundle, threshold: float | None, mask: float | None) -> Judge | None:
        judge = bundle.judge()
        return judge and replace(judge, point=with_given(judge.point, threshold, mask, self.settings))

    # Public --------------------------------------------------------------------------------------------

    @property
    def point(self) -> OperatingPoint | None:
        """The threshold that verdicts rest on; None when there is none."""
        return self.judge.point

    @property
    def bundle(self) -> OpenedBundle | None:
        """The bundle that this inspector runs, if it is one."""
        return self._found.bundle

    def described(self, object: str) -> DescribedReferences | None:
        """The references as the model sees them, None without any."""
        return self._described_references(self._name_of(object)) if self.references else None

    @property
    def model(self) -> SteerViT:
        """The model, loaded on first use; a view of its own of one that was given."""
        return self.asked.steervit

    def inspect(self, image: Picture, object: str = "object", channels: str = "rgb") -> Inspection:
        """Inspect one image of the part called `object`.

        `image` is a path, a PIL image, or uint8 H x W x 3 or H x W (grey); `channels` "bgr" for arrays from
        OpenCV. Raises `NotJudged` when the model gives no finite map for it.
        """
        found = self.inspect_batch([image], object, channels)[0]
        if isinstance(found, NotJudged):
            raise found
        return found

    def inspect_batch(
        self, images: Sequence[Any], object: str = "object", channels: str = "rgb"
    ) -> list[Inspection | NotJudged]:
        """Inspect several images of one part, of any sizes, each alone; in order, one result each.

        In place of an image that cannot be judged stands the `NotJudged` that says why.
        """
        if self.mutual:
            raise SteerAnomalyError(
                "expected the whole set of pictures, since each is compared with all others: call inspect_set"
            )
        comparison = self.compare(object) if self.references else None
        return [self.conclude(one, comparison) for one in self.observe(images, object, channels)]

    def inspect_set(
        self, images: Sequence[Picture], object: str = "object", channels: str = "rgb"
    ) -> list[Inspection | NotJudged]:
        """Inspect pictures of one part as a set: with `mutual` each is compared with the others.

        Descriptions are kept on disk while it works. Raises `SteerAnomalyError` for fewer than two different pictures
        that are to be compared with each other.
        """
        if not self.mutual:
            return self.inspect_batch(images, object, channels)
        observed = self.observe(images, object, channels)
        with TemporaryDirectory() as folder:
            comparison = self.compare_all(observed, object, Path(folder))
            return [self.conclude(one, comparison) for one in observed]

    def observe(
        self, images: Sequence[Picture], object: str = "object", channels: str = "rgb"
    ) -> list[Observation]:
        """What the model says of each image alone: its map before smoothing, and each piece of evidence."""
        arrays = [as_rgb(image, channels) for image in images]
        name, described = self._name_of(object), self.settings.company is not None
        found = self._observer.observe(arrays, name, described, looked_at=self.judge.gate is not None)
        return [replace(one, part=self.roi.seen(image)) for one, image in zip(found, arrays, strict=True)]

    def compare_all(self, observed: Iterable[Observation], object: str, folder: Path) -> Comparison:
        """Compare a whole set, whose observations are gone through once; `folder` keeps what is not to be lost.

        Raises `SteerAnomalyError` for fewer than two different pictures, and when the folder cannot be written to.
        """
        from anomaly.evidence.mutual import FeatureStore

        store = FeatureStore(folder, self.description_hash) if self.mutual else None

        def added() -> Iterator[Observation]:
            for one in observed:
                if store is not None:
                    add_to(store, one)
                yield one

        return self.compare(object, store, added(), folder / "scores")

    def compare(
        self,
        object: str,
        store: FeatureStore | None = None,
        observed: Iterable[Observation] = (),
        finished: Path | None = None,
    ) -> Comparison:
        """What pictures are compared with: the references, and with `store` each other.

        `observed` are the pictures whose descriptions `store` holds; they are gone through once. `finished` is a
        folder where comparisons are kept for going on.
        """
        references = self._described_references(prompt_sets.object_name(object)) if self.references else None
        own, keys, grids = [], [], []
        for one in observed:
            assert one.description is not None  # in company every observation has one
            keys.append(one.description.content)
            grids.append(one.description.grid)
            own.append(sampled(one.own))
        if references is not None:
            own = references.own
        bank = references.bank if references else None
        return compare(own, store, keys, bank, finished, self._compared_how(), grids)

    def _compared_how(self) -> MutualSettings | None:
        """How pictures are compared with each other: a bundle repeats what the original did where it was exported."""
        if self._found.bundle is None or not self.mutual:
            return None
        from anomaly.evidence.mutual import MutualSettings

        return MutualSettings(precision=self._found.bundle.mutual_precision)

    def conclude(
        self, observation: Observation, comparison: Comparison | None = None
    ) -> Inspection | NotJudged:
        """The heatmap at the image's own size, its score, and the verdict where a threshold is known."""
        began = time.perf_counter()
        own, parts, compared, seen = observation.own, observation.evidence, None, observation.look
        if comparison is not None and observation.description is not None:
            compared = comparison.of(observation.description)
            within = {name: getattr(self.settings, name) * one for name, one in parts.items()}
            own, parts = comparison.total(own, compared, within)
            seen = replace(seen, distance=compared.distance) if seen else None
        try:
            inside = self.roi.inside(observation.size_hw, observation.part)
        except NoRoi as error:
            return NotJudged(str(error))
        counting = smaller(inside, observation.seen_hw)
        small, score = heatmaps.scored(
            heatmaps.resize(own, observation.seen_hw),
            self.settings.smooth,
            counting,
            heatmaps.TOP_FRACTION if compared is None else heatmaps.TOP_IN_COMPANY,
        )
        if not (np.isfinite(score) and np.isfinite(small).all()):
            return NotJudged("the model gave values that are not finite for this image")
        if self.settings.guided:
            assert observation.picture is not None  # under these settings every observation has one
            followed = follow if compared is None else follow_sum
            small = followed(small, observation.picture, self.settings.guided, counting)
        heatmap = filled(heatmaps.resize(small, observation.size_hw), inside)
        scored = self._scored(heatmap, score, observation, seen)
        found = self.judge.judged(scored)
        milliseconds = observation.milliseconds + (time.perf_counter() - began) * 1000
        found = replace(found, milliseconds=milliseconds, parts=parts)
        if compared is not None:
            found = replace(
                found, compared_with=compared.partners, closest=compared.closest, unlike=compared.unlike
            )
        if comparison is not None and observation.description is not None and found.is_anomalous is not False:
            at = np.unravel_index(small.argmax(), small.shape)
            highest = (float(at[0] + 0.5) / small.shape[0], float(at[1] + 0.5) / small.shape[1])
            found = replace(found, likest_patch=comparison.likest(observation.description, highest))
        return found

    def prepare(self, object: str, last: bool = False) -> None:
        """Load the model and encode the prompts for `object` now.

        With `last` this inspector lets go of the text tower (1.4 GB for RoBERTa-large) and can be asked about no
        other part.
        """
        self.asked.prepare(self._name_of(object), last)

    def check_references(self, object: str = "object") -> list[Finding]:
        """The references that are unlike all others, to be looked at; those of a profile were looked at before."""
        if not self.references.names:
            return []
        from anomaly.evidence.reference_check import check_likeness

        names = dict(zip(self.references.contents, self.references.names, strict=True))
        return check_likeness(names, self._described_references(prompt_sets.object_name(object)).bank)

    def with_references(self, references: ReferenceSet) -> Inspector:
        """This inspector, sharing its model, with other references (or none) and no company but theirs."""
        _ = self.model  # loaded once for both
        other = copy(self)
        other.references, other.mutual, other._references = references, False, {}
        other.settings = replace(self.settings, company=other._company())
        shipped, other.why_unjudged = valid_point(self._found.point, other.settings)
        other.judge = Judge(shipped, least=self.judge.least)
        return other

    def with_roi(self, roi: Roi) -> Inspector:
        """This inspector, sharing its model, with another region of interest and no verdicts."""
        other = copy(self)
        other.roi = roi
        other.settings = replace(self.settings, roi=roi.name, ignore=roi.ignored_name)
        shipped, other.why_unjudged = valid_point(self._found.point, other.settings)
        other.judge = Judge(shipped, least=self.judge.least)
        return other

    def describe(self) -> dict[str, Any]:
        """Model, settings, their hash and the thresholds, ready for JSON; with a profile, which one."""
        point, profile = self.point, self.judge.profile
        known = {"profile": profile.digest} if profile else {}
        known |= {"bundle": self._found.bundle.manifest.digest} if self._found.bundle else {}
        return (
            self.settings.to_dict()
            | known
            | self.judge.least.to_dict()
            | {
                "settings_hash": self.settings.hash,
                "model_about": self.record.about,
                "licence": self.record.licence,
                "prompt_set": self.prompts.name,
                "threshold": point.threshold if point else None,
                "mask_threshold": point.mask_threshold if point else None,
                "false_alarm_rate": point.false_alarm_rate if point else None,
                "threshold_source": point.source
                if point
                else f"none: {self.why_unjudged}; images are scored, not judged",
                "device": self.device,
            }
        )

    def _name_of(self, object: str) -> str:
        """The part as prompts have it; a bundle knows one part, and is asked about that unless told otherwise."""
        if self._found.bundle is not None and object in ("object", self._found.bundle.manifest.object):
            return self._found.bundle.manifest.object
        return prompt_sets.object_name(object)

    # Company ---------------------------------------------------------------------------------------------

    @property
    def description_hash(self) -> str:
        """SHA-256 in hex of how pictures are described; descriptions of another hash cannot be compared."""
        named = [self._seen_by, list(self.settings.hashes)]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    def _company(self) -> str | None:
        parts = [OTHERS] if self.mutual else []
        if self.references:
            parts.append(f"{len(self.references)} references {self.references.hash[:16]}")
        return f"{' and '.join(parts)}, seen by {self._seen_by}" if parts else None

    def _described_references(self, object: str) -> DescribedReferences:
        with self._loading:
            if self.references.described is not None:
                return self.references.described
            if object not in self._references:
                observed = [one for image in self.references.images for one in self.observe([image], object)]
                self._references[object] = DescribedReferences.of(observed)
            return self._references[object]

    def _scored(
        self, heatmap: np.ndarray, score: float, observation: Observation, seen: Look | None
    ) -> Inspection:
        return Inspection(
            score=score,
            is_anomalous=None,
            heatmap=heatmap,
            mask=np.zeros(heatmap.shape, bool),
            regions=(),
            threshold=None,
            object=observation.object,
            model=self.record.name,
            look=seen,
        )
