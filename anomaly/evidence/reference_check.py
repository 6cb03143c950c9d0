"""What is wrong with a set of references, before anything is compared with them. Finds and says; drops nothing.

Letters: K references.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anomaly.evidence.descriptions import content_hash
from anomaly.evidence.mutual_scale import RELATIVE
from anomaly.evidence.references import References
from anomaly.pictures.images import ImageError, read_image, size_hw

Kind = Literal["unreadable", "duplicate", "size", "aspect", "unlike"]
SAME_ASPECT = 0.02  # relative: sides rounded to whole pixels are no other aspect
SAME_SIZE = 1.25  # times as many pixels a side show another amount of detail
UNLIKE = 6.0  # robust z-scores above the other references' typical distance
ENOUGH = 4  # references, before one of them can be called unlike the rest
ANOTHER = 1.0  # median z-score of a picture's patches from which it is odd everywhere
ANOTHER_PART = "References of another part?"


@dataclass(frozen=True)
class Finding:
    """One thing to look at: `kind`, the `name` of the reference as it was given, and a sentence for the user."""

    kind: Kind
    name: str
    message: str


@dataclass(frozen=True)
class ReferencePicture:
    """A reference that could be read: its `name`, RGB uint8 H x W x 3 `image`, and the hash of its pixels."""

    name: str
    image: np.ndarray
    content: str


def read_references(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[ReferencePicture], list[Finding]]:
    """The references that can be read and are no copies of an earlier one, and what was found about the others."""
    pictures: dict[str, ReferencePicture] = {}
    findings = []
    for path in paths:
        name = os.fspath(path)
        try:
            image = read_image(path)
        except ImageError as error:
            findings.append(Finding("unreadable", name, f"reference left out, {error}"))
            continue
        content = content_hash(image)
        if content in pictures:
            first = pictures[content].name
            findings.append(
                Finding("duplicate", name, f"{name} is the same picture as {first}: it counts once")
            )
            continue
        pictures[content] = ReferencePicture(name, image, content)
    return list(pictures.values()), findings


def check_sizes(
    references: Mapping[str, tuple[int, int]], inputs: Sequence[tuple[int, int]] = ()
) -> list[Finding]:
    """References whose (height, width) in pixels is not that of the inputs, or else not the commonest of their own."""
    if not references:
        return []
    usual = Counter(inputs or references.values()).most_common(1)[0][0]
    whose = "the inputs" if inputs else "most references"
    found = [_size_finding(name, size, usual, whose) for name, size in references.items()]
    return [finding for finding in found if finding is not None]


def check_likeness(names: Mapping[str, str], references: References) -> list[Finding]:
    """References far more unlike all others than those are unlike each other; `names` by the hash of their pixels.

    Asks for at least four references. That of which it is said may be of another part, defective, or badly lit.
    """
    if len(references) < ENOUGH:
        return []
    typical = np.array([float(np.mean(one)) for one in references.left_out])
    # Of so few numbers the deviation alone: a percentile would count the odd one among the usual ones.
    from scipy.stats import median_abs_deviation  # a third of a second, and not every run needs it

    spread = max(float(median_abs_deviation(typical, scale="normal")), RELATIVE * float(np.median(typical)))
    odd = (typical - np.median(typical)) / max(spread, 1e-6)
    return [
        Finding(
            "unlike",
            names[content],
            f"{names[content]} is unlike all other references (its patches lie {distance / np.median(typical):.1f} "
            "times as far from them as is usual): look at it; if it is of another part or has a defect, take it out",
        )
        for content, distance, z in zip(references.contents, typical, odd, strict=True)
        if z > UNLIKE
    ]


def check_part(unlike: Sequence[float]) -> str | None:
    """What is to be said where most pictures are odd everywhere; `unlike` is the median z-score of each one's patches.

    On five kinds of photographs, all parts beside each other's references and their own, pictures of the same part
    have 0 to 0.8 in the middle, those of another from 1.0 (dark, even ones) to 7.
    """
    odd = sum(one > ANOTHER for one in unlike)
    if 2 * odd <= len(unlike):
        return None
    return (
        f"{ANOTHER_PART} {odd} of {len(unlike)} pictures are unlike the references nearly everywhere (by "
        f"{float(np.median(unlike)):.1f} times their own spread): look whether these are of the same part, taken "
        "in the same way"
    )


def sizes_of(paths: Iterable[str | os.PathLike[str]]) -> list[tuple[int, int]]:
    """Height and width in pixels of the pictures that can be opened; nothing else is read of them."""
    found = []
    for path in paths:
        with suppress(ImageError):
            found.append(size_hw(path))
    return found


def _size_finding(name: str, size: tuple[int, int], usual: tuple[int, int], whose: str) -> Finding | None:
    aspect, wanted = size[1] / size[0], usual[1] / usual[0]
    sizes = f"{name} has {size[1]} x {size[0]} pixels, {whose} {usual[1]} x {usual[0]}"
    if abs(aspect / wanted - 1) > SAME_ASPECT:
        return Finding("aspect", name, f"{sizes}: another aspect, so the part looks squeezed; crop it alike")
    ratio = max(size[0] / usual[0], usual[0] / size[0])
    if ratio > SAME_SIZE:
        return Finding("size", name, f"{sizes}: it shows another amount of detail; photograph it alike")
    return None
