"""How an inspector has to be made for a profile, and whether it is: the model's files, every setting, the references.

Knows the inspector's parameters and settings, not the inspector.
"""

from __future__ import annotations

from typing import Any

from anomaly.comparison import DescribedReferences, ReferenceSet
from anomaly.decision.profile import Profile
from anomaly.errors import SteerAnomalyError
from anomaly.prompts import PromptSet
from anomaly.roi import Roi
from anomaly.settings import InspectionSettings

FREE = ("omega", "activation", "smooth", "scales", "self_similarity", "dark_lines", "precision", "ensemble")


def arguments_of(profile: Profile, model: Any = None) -> dict[str, Any]:
    """Arguments of an `Inspector` that scores as the profile was calibrated; `model` says where its model lies.

    Raises `SteerAnomalyError` for a profile whose settings or references are none, or whose model has no place.
    """
    from steervit.weights.catalogue import is_name

    if model is None and not is_name(profile.model):
        raise SteerAnomalyError(
            f"expected the file of the profile's model, {profile.model!r}, which is one of your own: give the "
            "checkpoint that it was calibrated with as the model"
        )
    settings = settings_of(profile)
    contents = profile.provenance.references
    return {name: getattr(settings, name) for name in FREE} | {
        "guided": settings.guided or 0.0,  # none, and not what the model comes with
        "model": model or profile.model,
        "prompts": PromptSet("the profile's", settings.prompts, settings.contrast),
        "references": references_of(profile) if contents else (),
        "mutual": "batches" in profile.promise.scoring.kind,
        "roi": Roi.of_arrays(settings.roi, profile.references),
        "least": profile.least,
    }


def settings_of(profile: Profile) -> InspectionSettings:
    """The settings that the profile was calibrated with. Raises `SteerAnomalyError` for others than ours."""
    try:
        return InspectionSettings.from_dict(dict(profile.settings))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SteerAnomalyError(
            f"expected the settings of an inspection in the profile, got others ({error}); calibrate again"
        ) from error


def references_of(profile: Profile) -> ReferenceSet:
    """The profile's references, described already."""
    return ReferenceSet.of_described(
        DescribedReferences.of_arrays(profile.provenance.references, profile.references)
    )


def check_same(profile: Profile, settings: InspectionSettings) -> None:
    """Raise `SteerAnomalyError` unless these settings, and the model's files, are those of the profile."""
    then, now = dict(profile.hashes), dict(settings.hashes)
    if other := [part for part in {**then, **now} if then.get(part) != now.get(part)]:
        raise SteerAnomalyError(
            f"expected the model that the profile was calibrated with, {profile.model}, got one with another "
            f"{' and '.join(other)} (by SHA-256): scores of two models cannot be compared. Give that model, or "
            "calibrate again"
        )
    if settings.hash != profile.settings_hash:
        named = ", ".join(settings.differing(settings_of(profile))) or "how settings are written"
        raise SteerAnomalyError(
            f"expected to inspect as the profile was calibrated, but {named} would differ, perhaps because another "
            "version made it; calibrate again"
        )
