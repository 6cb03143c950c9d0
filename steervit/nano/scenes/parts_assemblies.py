"""Parts made of many pieces or seen along their length: boards, shafts, springs, wheels, packs, brushes, chains."""

import numpy as np

from . import outlines
from .colours import colour, near
from .fields import Rng, bevel, chance, coordinates, fractal_noise, mix, pick
from .parts import Part, label, material, plain, stamp, start
from .surface import Surface


def board(rng: Rng, size: int) -> Part:
    """A circuit board: traces, pads, chips and small parts in rows; crowded, hence full of normal edges."""
    width, height = rng.uniform(0.6, 0.97), rng.uniform(0.5, 0.97)
    part = start(rng, size, outlines.box(width, height, 0.03), plain(rng, size), "board", 0.02)
    trace = near(rng, part.surface.albedo.mean((0, 1)), 0.12)
    for _ in range(int(rng.integers(4, 16))):
        wide, tall = (rng.uniform(0.2, 0.9), 0.012) if chance(rng, 0.5) else (0.012, rng.uniform(0.2, 0.9))
        at = (rng.uniform(-width, width) * 0.9, rng.uniform(-height, height) * 0.9)
        mask = part.mask(outlines.box(wide * width, tall * height / 0.5, 0, at)) * part.alpha
        part.surface.albedo = mix(part.surface.albedo, trace, mask * 0.8)
    finishes = [plain(rng, size, family) for family in ("dark", "metal", "any", "pale")]
    for _ in range(int(rng.integers(4, 14))):
        _component(rng, part, width, height, pick(rng, finishes))
    return part


def _component(rng: Rng, part: Part, width: float, height: float, finish: Surface) -> None:
    """One or a row of equal components somewhere on the board."""
    x, y = rng.uniform(-0.8, 0.8) * width, rng.uniform(-0.8, 0.8) * height
    wide, tall = rng.uniform(0.03, 0.16), rng.uniform(0.03, 0.12)
    shape = outlines.circle(tall, points=24) if chance(rng, 0.3) else outlines.box(wide, tall, 0.01)
    step = np.array([wide * 2.6, 0]) if chance(rng, 0.5) else np.array([0, tall * 2.8])
    mask = np.zeros_like(part.alpha)
    for index in range(int(rng.integers(1, 5))):
        mask = np.maximum(mask, part.mask(shape + np.array([x, y]) + index * step))
    mask = mask * (part.alpha > 0.5)
    part.surface.albedo = mix(part.surface.albedo, finish.albedo, mask)
    part.surface.height = part.surface.height + bevel(mask, 3) * rng.uniform(1, 4) * mask


def shaft(rng: Rng, size: int) -> Part:
    """A turned rod with steps, grooves, a thread; round, so bright along a line and dark at its sides."""
    x, y = coordinates(size)
    along, across = (x - size / 2) / (size * 0.47), (y - size / 2) / (size * 0.47)
    breaks = np.sort(rng.uniform(-1, 1, int(rng.integers(0, 5))))
    steps = rng.uniform(0.15, 0.45, len(breaks) + 1)
    radius = steps[np.searchsorted(breaks, along[0])].astype(np.float32)
    if chance(rng, 0.4):
        thread = 0.02 * np.abs(np.sin(along[0] * rng.uniform(40, 110)))
        radius = radius - thread * (along[0] > rng.uniform(-0.5, 0.5))
    share = np.clip(np.abs(across) / np.maximum(radius, 1e-3)[None], 0, 1.2)
    inside = np.clip((radius[None] - np.abs(across)) * size * 0.47 + 0.5, 0, 1) * (np.abs(along) < 1)
    surface = material(rng, size, "metal" if chance(rng, 0.7) else "any")
    lit = np.sqrt(np.clip(1.02 - share**2, 0, 1)) * rng.uniform(0.4, 0.9)
    glint = np.exp(
        -(((across / radius[None]) - rng.uniform(-0.5, 0.5)) ** 2) * rng.uniform(10, 60)
    ) * rng.uniform(0, 0.5)
    tones = rng.uniform(0.8, 1.15, len(steps))[np.searchsorted(breaks, along[0])]
    surface.albedo = (surface.albedo * ((0.25 + lit) * tones[None])[..., None] + glint[..., None]).astype(
        np.float32
    )
    return Part(surface, inside.astype(np.float32), "shaft")


def spring(rng: Rng, size: int) -> Part:
    """Equal slanted coils side by side."""
    coils, half = int(rng.integers(5, 18)), rng.uniform(0.2, 0.5)
    part = Part(material(rng, size, "metal"), np.zeros((size, size), np.float32), "spring")
    lean, wire = 0.9 / coils, rng.uniform(0.35, 0.75) / coils
    rise = np.zeros((size, size), np.float32)
    for x in np.linspace(-0.9, 0.9, coils):
        corners = [
            (x - lean - wire, -half),
            (x - lean + wire, -half),
            (x + lean + wire, half),
            (x + lean - wire, half),
        ]
        coil = part.mask(np.array(corners))
        part.alpha = np.maximum(part.alpha, coil)
        rise = np.maximum(rise, bevel(coil, wire * part.unit))
    part.surface.height = part.surface.height + rise * wire * part.unit
    return part


def wheel(rng: Rng, size: int) -> Part:
    """Rim, hub and equal spokes with openings between them."""
    part = start(rng, size, outlines.circle(), material(rng, size), "wheel", 0.08)
    spokes, rim, hub = int(rng.integers(3, 13)), rng.uniform(0.75, 0.9), rng.uniform(0.15, 0.3)
    part.cover(outlines.circle(rim), material(rng, size), rng.uniform(-3, 3))
    half = np.pi / spokes * rng.uniform(0.4, 0.8)
    arc = np.linspace(-half, half, 12)
    outer = np.stack([np.cos(arc), np.sin(arc)], -1) * (rim - 0.06)
    window = np.concatenate([outer, outer[::-1] * (hub + 0.08) / (rim - 0.06)])
    deep = plain(rng, size, "dark")
    for angle in np.arange(spokes) * 2 * np.pi / spokes:
        part.cut(outlines.turned(window, angle))
    part.cover(outlines.circle(hub), material(rng, size), rng.uniform(-3, 3))
    part.cover(outlines.circle(hub * 0.4), deep)
    return part


def pack(rng: Rng, size: int) -> Part:
    """A tray with equal pockets, each with the same thing in it."""
    width, height = rng.uniform(0.7, 0.97), rng.uniform(0.5, 0.97)
    part = start(rng, size, outlines.box(width, height, 0.08), plain(rng, size), "tray", 0.03)
    columns, rows = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    pitch = min(2 * width / (columns + 0.3), 2 * height / (rows + 0.3))
    kind = pick(rng, ("food", "any", "any"))
    fill = material(rng, size, kind)
    shape = pick(rng, (outlines.circle(), outlines.box(0.9, 0.9, 0.2), outlines.circle() * [1, 0.7]))
    pockets, bodies = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    for x in (np.arange(columns) - (columns - 1) / 2) * 2 * width / (columns + 0.3):
        for y in (np.arange(rows) - (rows - 1) / 2) * 2 * height / (rows + 0.3):
            at = np.array([x, y])
            pockets = np.maximum(pockets, part.mask(shape * pitch * 0.44 + at))
            bodies = np.maximum(bodies, part.mask(shape * pitch * rng.uniform(0.34, 0.36) + at))
    part.surface.albedo *= (1 - 0.4 * pockets * (1 - bodies))[..., None]
    part.surface.albedo = mix(part.surface.albedo, fill.albedo, bodies)
    rise = bevel(bodies, pitch * 0.2 * part.unit) * pitch * 0.15 * part.unit
    part.surface.height = part.surface.height - 2 * pockets + bodies * fill.height + rise
    return part


def bristles(rng: Rng, size: int) -> Part:
    """A brush head from above: tufts of fibres in several colours on a grid, ragged by nature."""
    width, height = rng.uniform(0.3, 0.55), rng.uniform(0.7, 0.97)
    part = start(rng, size, outlines.box(width, height, width), plain(rng, size), "connector", 0.1)
    colours = [plain(rng, size) for _ in range(int(rng.integers(1, 4)))]
    columns, rows = int(rng.integers(3, 6)), int(rng.integers(6, 12))
    fibres = 1 + 0.25 * fractal_noise(rng, size, 2.5, 2)
    for row, y in enumerate(np.linspace(-0.85, 0.85, rows) * height):
        mask = np.zeros((size, size), np.float32)
        for x in np.linspace(-0.75, 0.75, columns) * width:
            tuft = outlines.blob(rng, 0.15, points=30) * width / columns * 0.85 + np.array([x, y])
            mask = np.maximum(mask, part.mask(tuft))
        part.surface.albedo = mix(
            part.surface.albedo, colours[row % len(colours)].albedo * fibres[..., None], mask
        )
        part.surface.height = part.surface.height + mask * 2
    return part


def chain(rng: Rng, size: int) -> Part:
    """Links or beads in a row."""
    links, radius = int(rng.integers(3, 9)), rng.uniform(0.6, 1.0)
    pitch = 1.9 / links
    part = Part(material(rng, size), np.zeros((size, size), np.float32), "zipper")
    shape = pick(rng, (outlines.circle(), outlines.box(1, 0.6, 0.4), outlines.regular(6)))
    rise = np.zeros((size, size), np.float32)
    for x in (np.arange(links) - (links - 1) / 2) * pitch:
        link = part.mask(shape * pitch * 0.52 * radius + np.array([x, 0]))
        hole = part.mask(shape * pitch * 0.2 * radius + np.array([x, 0]))
        part.alpha = np.maximum(part.alpha, link)
        part.surface.albedo *= (1 - 0.6 * hole)[..., None]
        rise = np.maximum(rise, bevel(link, 0.15 * pitch * part.unit))
    part.surface.height = part.surface.height + rise * 4
    return part


def emblem(rng: Rng, size: int) -> Part:
    """A label, card or dial: print, bars, ticks and rings that look odd and are normal."""
    round_one = chance(rng, 0.5)
    outline = (
        outlines.circle() if round_one else outlines.box(rng.uniform(0.6, 0.95), rng.uniform(0.5, 0.95), 0.06)
    )
    part = start(rng, size, outline, plain(rng, size), "disc" if round_one else "plate", 0.03)
    ink = colour(rng)
    if round_one:
        ticks = int(pick(rng, (12, 24, 36, 60)))
        for angle in np.arange(ticks) * 2 * np.pi / ticks:
            tick = outlines.turned(outlines.box(0.05, 0.01, 0, (0.88, 0)), angle)
            part.surface.albedo = mix(part.surface.albedo, ink, part.mask(tick))
    else:
        for x in np.cumsum(rng.uniform(0.015, 0.06, 14)) - 0.4:
            bar = outlines.box(rng.uniform(0.004, 0.02), 0.12, 0, (float(x), -0.25))
            part.surface.albedo = mix(part.surface.albedo, ink, part.mask(bar))
    stamp(rng, part, 0.5, 0.2)
    if chance(rng, 0.3):
        label(rng, part, 0.3, 0.15)
    return part


def decorate(rng: Rng, part: Part) -> None:
    """What makes a sound part uneven: an off-centre hole, a boss, a stripe, a stamp, a notch at the rim."""
    for _ in range(int(rng.integers(1, 4))):
        at = tuple(rng.uniform(-0.6, 0.6, 2))
        inside = part.alpha > 0.5
        extra = rng.random()
        if extra < 0.3:
            part.cut(outlines.circle(rng.uniform(0.04, 0.12), at))
        elif extra < 0.55:
            part.cover(
                outlines.circle(rng.uniform(0.05, 0.15), at), plain(rng, part.size), rng.uniform(-3, 3)
            )
        elif extra < 0.75:
            stripe = part.mask(
                outlines.turned(
                    outlines.box(1, rng.uniform(0.01, 0.08), 0, (0, at[1])), rng.choice([0, np.pi / 2])
                )
            )
            part.surface.albedo = mix(part.surface.albedo, colour(rng), stripe * inside * rng.uniform(0.3, 1))
        elif extra < 0.9:
            stamp(rng, part, rng.uniform(0.15, 0.5), 0.2)
        else:
            part.cut(outlines.box(0.12, rng.uniform(0.05, 0.12), 0.02, (0.95, 0)))
