"""What can be said of a scene, each sentence with the mask of what it refers to."""

from dataclasses import dataclass

import numpy as np

from .colours import name_colour
from .defects import Mark
from .fields import Array, Rng, chance, pick
from .scene import Scene
from .vocabulary import confusable, object_names, words

_ABSENT_KINDS, _ABSENT_THINGS = 3, 2
KINDS = ("all", "defect", "colour", "position", "object", "background", "normal", "absent")


@dataclass(frozen=True)
class Sentence:
    """A referring expression, the pixels it refers to (H x W bool; empty where there is no such thing), its kind.

    `names` is the kind of defect it asks for, present or not, where it asks for all of one kind.
    """

    text: str
    mask: Array
    kind: str
    names: str = ""


def sentences(scene: Scene, rng: Rng) -> list[Sentence]:
    """A dozen sentences or more: two or three on all defects first, then single ones, the object, what is absent."""
    said = _on_all(scene, rng)
    for kind in scene.kinds:
        texts = dict.fromkeys(_fill(rng, "defect", scene, d=_synonym(rng, kind)) for _ in range(2))
        said += [Sentence(text, scene.layers[kind], "defect", kind) for text in texts]
    said += _by_colour(scene, rng) + _by_position(scene, rng)
    said.append(Sentence(_fill(rng, "object", scene), scene.layers["object"], "object"))
    background = ~scene.layers["object"]
    if chance(rng, 0.5):
        said.append(Sentence(_fill(rng, "background", scene), background, "background"))
    if scene.marks and chance(rng, 0.5):
        sound = scene.layers["object"] & ~scene.defects
        said.append(Sentence(_fill(rng, "normal", scene), sound, "normal"))
    return said + _on_absent(scene, rng)


def _fill(rng: Rng, topic: str, scene: Scene, **parts: str) -> str:
    text = pick(rng, words()[topic]).format(x=scene.object_name, **parts)
    return _right_article(text)


def _right_article(text: str) -> str:
    tokens = text.split(" ")
    for index, token in enumerate(tokens[:-1]):
        if token in ("a", "an"):
            tokens[index] = "an" if tokens[index + 1][:1].lower() in "aeiou" else "a"
    return " ".join(tokens)


def _synonym(rng: Rng, kind: str) -> str:
    return kind if chance(rng, 0.5) else pick(rng, words()["kinds"][kind])


def _on_all(scene: Scene, rng: Rng) -> list[Sentence]:
    # The ten well-known prompts come as often as all the paraphrases together.
    templates = words()["all"]
    first = pick(rng, templates[:10])
    rest = [pick(rng, templates[10:]) for _ in range(int(rng.integers(1, 3)))]
    texts = dict.fromkeys(_right_article(template.format(x=scene.object_name)) for template in [first, *rest])
    return [Sentence(text, scene.defects, "all") for text in texts]


def _by_colour(scene: Scene, rng: Rng) -> list[Sentence]:
    """Defects whose colour has a name, where no defect of another colour has the same name."""
    named = [(mark, _colour_of(scene, mark)) for mark in scene.marks]
    said = []
    for mark, colour in named:
        if colour is None:
            continue
        alike = np.any([other.mask for other, name in named if name == colour], axis=0)
        same_kind = np.any([m.mask for m, name in named if name == colour and m.kind == mark.kind], axis=0)
        text = _fill(rng, "colour", scene, c=colour, d=_synonym(rng, mark.kind))
        by_kind = f"{colour} mark" not in text and f"{colour} defect" not in text
        said.append(Sentence(text, same_kind if by_kind else alike, "colour"))
    return said[:2]


def _colour_of(scene: Scene, mark: Mark) -> str | None:
    """The defect's colour, where it has one and stands out by it."""
    inside = scene.image[mark.mask].astype(np.float32) / 255
    rest = scene.image[scene.layers["object"] & ~scene.defects].astype(np.float32) / 255
    if len(inside) < 12 or len(rest) == 0 or inside.std(0).max() > 0.2:
        return None
    typical = np.median(inside, 0)
    name = name_colour(typical)
    return name if name != name_colour(np.median(rest, 0)) else None


def _by_position(scene: Scene, rng: Rng) -> list[Sentence]:
    """Where a defect lies in the picture, in the words of a nine-field grid; marks across fields have no word."""
    if not scene.marks:
        return []
    mark = pick(rng, scene.marks)
    place = place_of(mark.mask)
    if place is None:
        return []
    text = _fill(rng, "defect_position", scene, d=_synonym(rng, mark.kind), p=place)
    general = text.startswith(("the defect", "the anomaly"))
    there = [m.mask for m in scene.marks if place_of(m.mask) == place and (general or m.kind == mark.kind)]
    return [Sentence(text, np.any(there, axis=0), "position")]


def place_of(mask: Array) -> str | None:
    """Words for where a mask lies, or None where it reaches over more than half of the picture."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    if len(rows) == 0 or np.ptp(rows) > height / 2 or np.ptp(columns) > width / 2:
        return None
    down, across = rows.mean() / height, columns.mean() / width
    row = "top" if down < 0.36 else "bottom" if down > 0.64 else ""
    column = "left" if across < 0.36 else "right" if across > 0.64 else ""
    if not row and not column:
        return "in the centre"
    if row and column:
        return f"at the {row} {column}"
    return f"on the {column}" if column else f"at the {row}"


def _on_absent(scene: Scene, rng: Rng) -> list[Sentence]:
    """Kinds of defect that are not there, and things that are not there: nothing to point at."""
    empty = np.zeros(scene.image.shape[:2], bool)
    absent = [kind for kind in words()["kinds"] if not confusable(kind, scene.kinds)]
    drawn = rng.permutation(len(absent))[:_ABSENT_KINDS]
    texts = {_fill(rng, "defect", scene, d=_synonym(rng, absent[i])): absent[i] for i in drawn}
    if scene.object_name not in words()["general"]:
        wrong = [pick(rng, object_names()) for _ in range(_ABSENT_THINGS)]
        others = [name for name in wrong if _is_other(name, scene)]
        texts |= {_right_article(pick(rng, words()["object"]).format(x=name)): "" for name in others}
    return [Sentence(text, empty, "absent", kind) for text, kind in texts.items()]


def _is_other(name: str, scene: Scene) -> bool:
    """Whether nobody would call the object of the scene so."""
    return not set(name.split()) & set(scene.object_name.split()) and name not in _names_of(scene.material)


def _names_of(material: str) -> list[str]:
    return words()["parts"].get(material, words()["surfaces"].get(material, []))
