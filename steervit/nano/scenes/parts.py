"""Manufactured and natural parts as sprites: a surface with an outline. One recipe per family of shapes."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import outlines
from . import textures_metal as metal
from . import textures_organic as organic
from .colours import colour, paint
from .fields import Array, Rng, bevel, blur, chance, fractal_noise, log_uniform, mix, pick, smooth_noise
from .surface import Surface
from .textures import any_texture


@dataclass
class Part:
    """A part drawn in the middle of a square: its surface, and how much of each pixel it covers (0..1)."""

    surface: Surface
    alpha: Array
    shape: str

    @property
    def size(self) -> int:
        return self.alpha.shape[0]

    @property
    def unit(self) -> float:
        """Pixels per unit of the outlines, which reach from -1 to 1."""
        return self.size * 0.47

    def mask(self, outline: Array) -> Array:
        return outlines.draw(self.size, outline, self.unit)

    def cover(self, outline: Array, surface: Surface, rise: float = 0.0, edge: float = 3.0) -> None:
        """Lay another material over an outline, raised (or sunk, if negative) by `rise` pixels."""
        mask = self.mask(outline)
        self.surface.albedo = mix(self.surface.albedo, surface.albedo, mask)
        self.surface.height = mix(self.surface.height, surface.height, mask)
        if rise:
            self.surface.height += np.float32(rise) * bevel(mask, edge) * mask

    def cut(self, outline: Array) -> None:
        """A hole through which the background shows."""
        hole = self.mask(outline)
        self.alpha = self.alpha * (1 - hole)
        self.surface.height *= 1 - hole

    def darken(self, outline: Array, amount: float) -> None:
        self.surface.albedo *= (1 - amount * self.mask(outline))[..., None]


def material(rng: Rng, size: int, kind: str = "any") -> Surface:
    """A surface fit for a part: often a plain colour, since most parts have little texture."""
    if kind == "metal":
        return pick(rng, (metal.brushed, metal.rolled, metal.cast, metal.turned, metal.blasted))(rng, size)
    if kind == "food":
        return pick(rng, (organic.baked, organic.shell, organic.fruit_skin, organic.baked))(rng, size)
    if chance(rng, 0.35):
        return any_texture(rng, size)
    return plain(rng, size)


def plain(rng: Rng, size: int, family: str = "any") -> Surface:
    clouds = fractal_noise(rng, size, log_uniform(rng, 20, 100), 2)
    grain = smooth_noise(rng, size, rng.uniform(1, 3))
    albedo = (
        paint(clouds, colour(rng, family), rng.uniform(0, 0.04)) + (grain * rng.uniform(0, 0.015))[..., None]
    )
    return Surface(albedo, grain * rng.uniform(0, 0.2), rng.uniform(0, 0.8), "plain")


def start(
    rng: Rng, size: int, outline: Array, surface: Surface, shape: str, edge: float | None = None
) -> Part:
    """A part with a rounded edge: `edge` is the width of the rounding in units of the outline."""
    part = Part(surface, outlines.draw(size, outline, size * 0.47), shape)
    edge = log_uniform(rng, 0.03, 0.5) if edge is None else edge
    width = max(2.0, edge * part.unit)
    part.surface.height = part.surface.height + bevel(part.alpha, width) * width * rng.uniform(0.15, 0.6)
    return part


def disc(rng: Rng, size: int) -> Part:
    part = start(rng, size, outlines.circle(), material(rng, size), "disc")
    for _ in range(int(rng.integers(0, 4))):
        part.cover(outlines.circle(rng.uniform(0.2, 0.9)), material(rng, size), rng.uniform(-4, 4))
    return part


def ring(rng: Rng, size: int) -> Part:
    kind = "metal" if chance(rng, 0.6) else "any"
    part = start(rng, size, outlines.circle(), material(rng, size, kind), "ring")
    inner = rng.uniform(0.25, 0.85)
    if chance(rng, 0.4):
        part.cover(outlines.circle((1 + inner) / 2), material(rng, size), rng.uniform(-2, 2))
    part.cut(outlines.circle(inner))
    return part


def bottle_top(rng: Rng, size: int) -> Part:
    """A bottle or can from above: concentric rims that shine, dark or bright inside."""
    part = start(
        rng, size, outlines.circle(), plain(rng, size, "dark" if chance(rng, 0.6) else "any"), "bottle"
    )
    radius = 1.0
    for _ in range(int(rng.integers(3, 8))):
        radius *= rng.uniform(0.72, 0.96)
        tone = plain(rng, size, pick(rng, ("dark", "metal", "any", "pale")))
        part.cover(outlines.circle(radius), tone, rng.uniform(-6, 6), rng.uniform(2, 8))
    part.surface.gloss = rng.uniform(0.3, 1)
    return part


def capsule(rng: Rng, size: int) -> Part:
    width = rng.uniform(0.22, 0.5)
    part = start(rng, size, outlines.box(1, width, width), plain(rng, size), "capsule", width)
    if chance(rng, 0.6):
        side = outlines.box(1, width, 0, (rng.uniform(0.7, 1.3), 0))
        part.cover(side, plain(rng, size))
        part.surface.height += bevel(part.alpha, width * part.unit) * 5
    if chance(rng, 0.5):
        stamp(rng, part, 0.6, width * 0.6)
    return part


def tablet(rng: Rng, size: int) -> Part:
    squash = rng.uniform(0.55, 1)
    outline = outlines.circle() * [1, squash]
    part = start(rng, size, outline, plain(rng, size, "pale" if chance(rng, 0.6) else "any"), "tablet", 0.3)
    if chance(rng, 0.5):
        speckle = np.clip(smooth_noise(rng, size, rng.uniform(1.5, 4)) - 1.5, 0, 1)
        part.surface.albedo = mix(part.surface.albedo, colour(rng), speckle * 0.7)
    if chance(rng, 0.6):
        stamp(rng, part, 0.5, 0.3 * squash)
    return part


def plate(rng: Rng, size: int) -> Part:
    """A sheet with rounded corners, holes, slots, perhaps a label."""
    width, height = rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.95)
    kind = "metal" if chance(rng, 0.6) else "any"
    corner = rng.uniform(0, 0.3) if chance(rng, 0.7) else 0.0
    part = start(rng, size, outlines.box(width, height, corner), material(rng, size, kind), "plate", 0.04)
    for x, y in hole_places(rng, width, height):
        radius = rng.uniform(0.05, 0.1)
        if chance(rng, 0.4):
            part.cover(outlines.circle(radius * 1.6, (x, y)), material(rng, size, kind), rng.uniform(-2, 2))
        part.cut(outlines.circle(radius, (x, y)))
    if chance(rng, 0.4):
        label(rng, part, width * 0.5, height * 0.4)
    return part


def hole_places(rng: Rng, width: float, height: float) -> list[tuple[float, float]]:
    """Holes at the corners, on a grid, in the middle, or none."""
    inset_x, inset_y = width * rng.uniform(0.6, 0.85), height * rng.uniform(0.6, 0.85)
    corners = [(sx * inset_x, sy * inset_y) for sx in (-1, 1) for sy in (-1, 1)]
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    grid = [
        (x, y) for x in np.linspace(-inset_x, inset_x, columns) for y in np.linspace(-inset_y, inset_y, rows)
    ]
    return pick(rng, (corners, grid, [(0.0, 0.0)], corners[:2], []))


def nut(rng: Rng, size: int) -> Part:
    kind = "metal" if chance(rng, 0.85) else "any"
    part = start(
        rng, size, outlines.regular(pick(rng, (4, 6, 6, 6, 8))), material(rng, size, kind), "nut", 0.12
    )
    for radius in (rng.uniform(0.75, 0.85), rng.uniform(0.45, 0.6)):
        if chance(rng, 0.7):
            part.cover(outlines.circle(radius), material(rng, size, kind), rng.uniform(-3, 3))
    part.cut(outlines.circle(rng.uniform(0.3, 0.45)))
    return part


def gear(rng: Rng, size: int) -> Part:
    teeth = int(rng.integers(8, 40))
    outline = outlines.gear(teeth, rng.uniform(0.06, 0.25), rng.uniform(0.3, 0.6))
    kind = "metal" if chance(rng, 0.7) else "any"
    part = start(rng, size, outline, material(rng, size, kind), "gear", 0.05)
    if chance(rng, 0.6):
        part.cover(outlines.circle(rng.uniform(0.5, 0.75)), material(rng, size, kind), rng.uniform(-4, 4))
    for angle in np.arange(count := int(rng.integers(0, 7))) * 2 * np.pi / max(count, 1):
        part.cut(outlines.circle(0.1, (0.48 * np.cos(angle), 0.48 * np.sin(angle))))
    part.cut(outlines.circle(rng.uniform(0.1, 0.25)))
    return part


def commutator(rng: Rng, size: int) -> Part:
    """Copper bars around a hub, parted by dark gaps; or any disc of repeated segments."""
    part = start(rng, size, outlines.circle(), material(rng, size, "metal"), "commutator", 0.06)
    bars, inner, gap = int(rng.integers(6, 36)), rng.uniform(0.3, 0.75), rng.uniform(0.01, 0.05)
    depth = rng.uniform(0.4, 0.9)
    for angle in np.arange(bars) * 2 * np.pi / bars:
        slot = outlines.box((1 - inner) / 2, gap, 0, ((1 + inner) / 2, 0))
        part.darken(outlines.turned(slot, angle), depth)
    part.cover(outlines.circle(inner), material(rng, size), rng.uniform(-4, 4))
    if chance(rng, 0.7):
        part.cover(
            outlines.circle(inner * rng.uniform(0.4, 0.8)), plain(rng, size, "metal"), rng.uniform(-4, 4)
        )
    if chance(rng, 0.5):
        part.cut(outlines.circle(inner * rng.uniform(0.2, 0.4)))
    return part


def screw(rng: Rng, size: int) -> Part:
    part = start(rng, size, outlines.screw(rng), material(rng, size, "metal"), "screw", 0.12)
    part.surface.gloss = rng.uniform(0.3, 1)
    return part


def bottle(rng: Rng, size: int) -> Part:
    part = start(rng, size, outlines.bottle(rng), plain(rng, size), "flask", 0.25)
    if chance(rng, 0.6):
        part.cover(
            outlines.box(rng.uniform(0.15, 0.3), 0.5, 0, (rng.uniform(-0.7, -0.4), 0)),
            plain(rng, size, "pale"),
        )
        part.surface.height += bevel(part.alpha, 0.25 * part.unit) * 6
    if chance(rng, 0.6):
        part.cover(outlines.box(0.12, 0.3, 0, (0.9, 0)), plain(rng, size))
    return part


def bracket(rng: Rng, size: int) -> Part:
    part = start(rng, size, outlines.bracket(rng), material(rng, size), "bracket", 0.05)
    if chance(rng, 0.5):
        part.cut(outlines.circle(0.08, (-0.62, -0.62)))
    return part


def biscuit(rng: Rng, size: int) -> Part:
    outline = outlines.blob(rng, rng.uniform(0.01, 0.07), rng.uniform(0.6, 1))
    part = start(rng, size, outline, material(rng, size, "food"), "biscuit", rng.uniform(0.15, 0.5))
    part.surface.gloss *= 0.3
    return part


def kernel(rng: Rng, size: int) -> Part:
    """Nuts, fruit, pebbles: round bodies, often with a cap or a navel of another skin."""
    outline = outlines.blob(rng, rng.uniform(0.005, 0.05), rng.uniform(0.6, 1))
    part = start(rng, size, outline, material(rng, size, "food"), "kernel", rng.uniform(0.5, 0.9))
    if chance(rng, 0.5):
        cap = outlines.blob(rng, 0.05) * rng.uniform(0.2, 0.6) + rng.uniform(-0.35, 0.35, 2)
        alpha = blur(part.mask(cap), rng.uniform(0.5, 3))
        part.surface.albedo = mix(part.surface.albedo, organic.shell(rng, size).albedo, alpha)
    return part


def connector(rng: Rng, size: int) -> Part:
    """A housing with rows of pins, keys, sockets or bristles."""
    width, height = rng.uniform(0.6, 0.98), rng.uniform(0.3, 0.9)
    part = start(
        rng, size, outlines.box(width, height, rng.uniform(0, 0.1)), plain(rng, size), "connector", 0.05
    )
    columns, rows = int(rng.integers(3, 14)), int(rng.integers(1, 7))
    pitch = min(2 * width / (columns + 1), 2 * height / (rows + 1))
    pin = (
        outlines.circle(pitch * 0.3, points=16)
        if chance(rng, 0.5)
        else outlines.box(pitch * 0.3, pitch * 0.3)
    )
    pins = plain(rng, size, pick(rng, ("metal", "dark", "any", "pale")))
    mask = np.zeros((size, size), np.float32)
    for x in (np.arange(columns) - (columns - 1) / 2) * 2 * width / (columns + 1):
        for y in (np.arange(rows) - (rows - 1) / 2) * 2 * height / (rows + 1):
            mask = np.maximum(mask, part.mask(pin + np.array([x, y])))
    part.surface.albedo = mix(part.surface.albedo, pins.albedo, mask)
    part.surface.height = part.surface.height + mask * rng.uniform(-3, 3)
    return part


def chip(rng: Rng, size: int) -> Part:
    """An electronic package with legs on two sides."""
    width, height = rng.uniform(0.4, 0.85), rng.uniform(0.25, 0.55)
    legs = plain(rng, size, "metal")
    part = Part(legs, np.zeros((size, size), np.float32), "chip")
    count = int(rng.integers(2, 11))
    for x in (np.arange(count) - (count - 1) / 2) * 2 * width / count:
        leg = outlines.box(width / count * 0.4, height + rng.uniform(0.2, 0.3), 0, (float(x), 0))
        part.alpha = np.maximum(part.alpha, part.mask(leg))
    body = outlines.box(width, height, 0.04)
    part.alpha = np.maximum(part.alpha, part.mask(body))
    part.cover(body, plain(rng, size, "dark" if chance(rng, 0.7) else "any"), 4)
    if chance(rng, 0.6):
        stamp(rng, part, width * 0.7, height * 0.5)
    return part


def cable(rng: Rng, size: int) -> Part:
    """Cross-section of a cable: insulated strands in a sheath."""
    part = start(rng, size, outlines.circle(), plain(rng, size), "cable", 0.08)
    count = int(rng.integers(2, 8))
    radius = 0.8 * np.sin(np.pi / count) / (1 + np.sin(np.pi / count)) if count > 2 else 0.38
    for angle in np.arange(count) * 2 * np.pi / count:
        at = ((0.82 - radius) * np.cos(angle), (0.82 - radius) * np.sin(angle))
        part.cover(outlines.circle(radius, at), plain(rng, size), 2)
        strands = organic.loose_goods(rng, size) if chance(rng, 0.6) else metal.cast(rng, size)
        strands.albedo = strands.albedo.mean(-1, keepdims=True) * np.array([1.2, 0.8, 0.55], np.float32)
        part.cover(outlines.circle(radius * 0.65, at), strands, -1)
    return part


def zipper(rng: Rng, size: int) -> Part:
    """Two tapes of fabric and interlocking teeth."""
    tape = any_texture(rng, size) if chance(rng, 0.5) else plain(rng, size)
    part = start(rng, size, outlines.box(1, rng.uniform(0.4, 0.7)), tape, "zipper", 0.02)
    teeth, depth = int(rng.integers(10, 30)), rng.uniform(0.1, 0.22)
    mask = np.zeros((size, size), np.float32)
    for index, x in enumerate(np.linspace(-1, 1, teeth)):
        side = depth * 0.4 * (1 if index % 2 else -1)
        mask = np.maximum(mask, part.mask(outlines.box(0.6 / teeth, depth, 0.02, (float(x), side))))
    part.surface.albedo = mix(part.surface.albedo, plain(rng, size, "metal").albedo, mask)
    part.surface.height = part.surface.height + mask * 3
    return part


def stamp(rng: Rng, part: Part, width: float, height: float, strength: float = 0.9) -> None:
    """Print letters, numbers or bars in the middle of the part: normal."""
    text = "".join(pick(rng, "ABCDEFGHKLMNPRSTUVXYZ0123456789-.") for _ in range(int(rng.integers(1, 7))))
    font = pick(rng, (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX))
    thickness = int(rng.integers(1, 3))
    (wide, tall), _ = cv2.getTextSize(text, font, 1, thickness)
    scale = min(2 * width * part.unit / wide, 2 * height * part.unit / tall)
    ink = np.zeros((part.size, part.size), np.uint8)
    at = (int(part.size / 2 - wide * scale / 2), int(part.size / 2 + tall * scale / 2))
    cv2.putText(ink, text, at, font, scale, 255, max(1, round(thickness * scale)), cv2.LINE_AA)
    mask = ink.astype(np.float32) / 255
    if chance(rng, 0.3):
        part.surface.height = part.surface.height + mask * rng.uniform(-2, 2)
        strength *= 0.2
    part.surface.albedo = mix(part.surface.albedo, colour(rng), mask * strength)


def label(rng: Rng, part: Part, width: float, height: float) -> None:
    part.cover(outlines.box(width, height), plain(rng, part.size, pick(rng, ("pale", "any"))), 0.5)
    stamp(rng, part, width * 0.8, height * 0.6)
