"""A bundle as the model of an inspector: which settings it was exported with, and what its verdicts rest on.

Imports no torch. Knows the inspector's parameters, not the inspector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from anomaly.bundle.bundled_model import DESCRIBE, BundledModel
from anomaly.bundle.contents import BundleError, Manifest, read
from anomaly.bundle.runtimes import PACKAGES
from anomaly.comparison import OTHERS, DescribedReferences, ReferenceSet, in_company
from anomaly.decision.profile import Profile
from anomaly.decision.threshold import MapSettings, OperatingPoint
from anomaly.decision.verdict import Judge, judge_of
from anomaly.errors import SteerAnomalyError
from anomaly.evidence.descriptions import SEEN_BY
from anomaly.model_files import FoundModel, ModelRecord
from anomaly.prompts import PromptSet
from anomaly.roi import Roi
from anomaly.settings import InspectionSettings

if TYPE_CHECKING:
    from anomaly.evidence.mutual_products import Precision

# What an `Inspector` is made with unless told otherwise: for a bundle that means "as it was exported".
UNSAID: Mapping[str, Any] = {
    "prompts": "default", "omega": 1.0, "precision": "fp32", "references": (), "roi": None, "ignore": None,
    "ensemble": None,
}  # fmt: skip


@dataclass(frozen=True)
class BundledFound(FoundModel):
    """A bundle in place of a model's files."""

    exported: OpenedBundle | None = None

    @property
    def bundle(self) -> OpenedBundle | None:
        """See `FoundModel`."""
        return self.exported

    def opened(self, settings: InspectionSettings, prompts: PromptSet, device: str | None) -> Any:
        """See `FoundModel`. Raises `SteerAnomalyError` for a device that is no processor."""
        assert self.exported is not None
        if device not in (None, "cpu"):
            raise SteerAnomalyError(
                f"expected no --device beside a bundle, or cpu, got {device}: bundles run on CPUs"
            )
        return BundledModel(self.exported.folder, self.exported.manifest)


@dataclass(frozen=True)
class OpenedBundle:
    """A bundle that was read and checked. Its graphs are opened when an image is to be inspected."""

    folder: Path
    manifest: Manifest

    @classmethod
    def at(cls, folder: str | Path) -> OpenedBundle:
        """The bundle in `folder`. Raises `BundleError` for one that cannot be trusted."""
        path = Path(folder).expanduser()
        return cls(path, read(path))

    @cached_property
    def settings(self) -> InspectionSettings:
        """What images are scored with."""
        try:
            return InspectionSettings.from_dict(dict(self.manifest.settings))
        except (TypeError, ValueError, KeyError) as error:
            raise BundleError(
                f"{self.folder}: its settings are of another version ({error}): export again"
            ) from error

    @property
    def package(self) -> str:
        """What runs its graphs, as it is installed with pip."""
        return PACKAGES[self.manifest.runtime]

    @property
    def found(self) -> BundledFound:
        """The bundle as `find_model` gives it."""
        manifest, settings = self.manifest, self.settings
        record = ModelRecord(**manifest.model, hashes=dict(settings.hashes), card=self._card())
        maps = MapSettings(
            settings.activation, settings.smooth, settings.scales, settings.self_similarity, settings.dark_lines,
            settings.guided or 0.0, manifest.description,
        )  # fmt: skip
        point = None
        if manifest.point:  # `settings` says whether it was measured with what the bundle scores with
            measured = settings if manifest.point["settings"] else None
            point = OperatingPoint(**{**manifest.point, "settings": measured})
        return BundledFound(record, settings.image_size, maps, point, _no_steervit, exported=self)

    @cached_property
    def profile(self) -> Profile | None:
        """What the bundle's verdicts rest on where it was exported with a profile."""
        if self.manifest.profile is None:
            return None
        from anomaly.decision.profile_file import load

        return load(self.folder / self.manifest.profile)

    def judge(self, gate: bool = True) -> Judge | None:
        """How the profile judges; None without one."""
        return judge_of(self.profile, gate) if self.profile is not None else None

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The `given` of an inspector's parameters in `UNSAID`, those left at their default as they were exported."""
        arrays, settings = self._arrays(), self.settings
        known = {
            "prompts": PromptSet(self.manifest.prompt_set, settings.prompts, settings.contrast),
            "omega": settings.omega, "precision": settings.precision,
            "references": self._references(arrays) or (), "roi": Roi.of_arrays(settings.roi, arrays), "ignore": None,
            "ensemble": settings.ensemble,
        }  # fmt: skip
        return {
            name: known[name] if _is(given.get(name, default), default) else given[name]
            for name, default in UNSAID.items()
        }

    def check(self, settings: InspectionSettings, mutual: bool = False) -> None:
        """Raise `SteerAnomalyError` naming what was asked for that the bundle was not exported with.

        With `mutual` the pictures of a run are compared with each other, which any bundle can that describes them.
        """
        expected = self.settings
        if mutual:
            self._check_mutual()
            expected = replace(expected, company=self._company_of_a_run(), activation=in_company(None))
        if settings.hash != expected.hash:
            raise SteerAnomalyError(
                "expected to inspect as the bundle was exported, got another "
                f"{', '.join(settings.differing(expected))}: "
                "what decides a score is fixed in a bundle; leave it out, or export another one"
            )

    def check_profile(self, profile: Profile) -> None:
        """Raise `SteerAnomalyError` unless the bundle scores as `profile` was calibrated."""
        if profile.settings_hash != self.settings.hash:
            raise SteerAnomalyError(
                "expected a profile with the settings and references that the bundle was exported with, which are "
                "fixed in a bundle, got another: leave the bundle out, or export one with this profile"
            )

    def _check_mutual(self) -> None:
        if DESCRIBE not in self.manifest.graphs or "mutual" not in self.manifest.options:
            raise SteerAnomalyError(
                "expected a bundle that describes pictures, to compare them with each other, got one without: leave "
                "out --mutual, or export another one with --mutual"
            )
        if self.manifest.profile is not None:
            raise SteerAnomalyError(
                "expected no --mutual beside a bundle with a profile, whose promise is for pictures judged one at a "
                "time: leave it out, or export another one without --profile"
            )

    def _company_of_a_run(self) -> str:
        alone = self.settings.company
        return f"{OTHERS} and {alone}" if alone else f"{OTHERS}, seen by {SEEN_BY[self._describer]}"

    @property
    def _describer(self) -> str:
        return "eyes" if self.manifest.description == "eyes" else "tokens"

    @property
    def mutual_precision(self) -> Precision:
        """In which precision the original compared pictures with each other where it was exported."""
        return self.manifest.options["mutual"]

    def _arrays(self) -> Mapping[str, np.ndarray]:
        if self.profile is not None:
            return self.profile.references
        if self.manifest.references is None:
            return {}
        try:
            with np.load(self.folder / self.manifest.references, allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{self.folder}: its references cannot be read ({error}): export again"
            ) from error

    def _references(self, arrays: Mapping[str, np.ndarray]) -> ReferenceSet | None:
        if self.profile is not None:
            contents: tuple[str, ...] = tuple(self.profile.provenance.references)
        else:
            contents = tuple(self.manifest.options.get("references", ()))
        return (
            ReferenceSet.of_described(DescribedReferences.of_arrays(contents, arrays)) if contents else None
        )

    def _card(self) -> str:
        path = self.folder / "MODEL_CARD.md"
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def _is(given: Any, default: Any) -> bool:
    return type(given) is type(default) and given == default


def _no_steervit() -> NoReturn:
    raise SteerAnomalyError(
        "a bundle holds graphs and no model to train or steer: use the model it was exported from"
    )
