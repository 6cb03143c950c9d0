"""Defects along a line: scratch, crack, fibre, cut, fold, break, slip."""

import cv2
import numpy as np

from .colours import colour
from .fields import (
    Array,
    Rng,
    blur,
    chance,
    coordinates,
    displace,
    fractal_noise,
    log_uniform,
    mix,
    pick,
    smooth_noise,
)
from .marks import Edit, Spot, multiplied, painted, patchy, path, raised, some, stroke
from .stage import Stage
from .surface import Surface


def scratch(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A groove, bright or dark, that skips; sometimes several side by side."""
    size = stage.size
    length = spot.length(rng, 0.1, 2.2)
    width = log_uniform(rng, 0.7, 3.5)
    line = path(rng, spot.x, spot.y, length, rng.uniform(0, 0.04), rng.normal(0, 0.5))
    area = stroke(size, line, width, taper=True)
    for _ in range(some(rng, 6, 0.6) - 1):
        shift, turn = rng.normal(0, 4 + 0.08 * length, 2), rng.normal(0, 0.08)
        turned = (line - line.mean(0)) @ np.array(
            [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        )
        area = np.maximum(
            area, stroke(size, turned * rng.uniform(0.4, 1) + line.mean(0) + shift, width, taper=True)
        )
    area = area * stage.part
    skips = patchy(rng, size, log_uniform(rng, 1.5, 20), 0.1)
    alpha = area * (np.clip(skips * 2 - 1, 0, 1) if chance(rng, 0.25) else skips)
    surface = raised(stage.surface, alpha * rng.uniform(-2.5, 1) * width)
    if chance(rng, 0.5):
        surface = multiplied(surface, rng.uniform(0.3, 0.8), alpha)
    else:
        surface = painted(
            surface, np.full(3, rng.uniform(0.6, 1.0), np.float32), alpha * rng.uniform(0.2, 0.8)
        )
    return Edit(surface, area, thin=True)


def crack_lines(rng: Rng, spot: Spot, length: float, branches: int) -> list[Array]:
    """A jagged main line and its branches, each a path."""
    main = path(rng, spot.x, spot.y, length, rng.uniform(0.08, 0.35))
    jag = rng.normal(0, min(1.2, length * 0.02), main.shape)
    lines = [main + jag]
    for _ in range(branches):
        root = main[int(rng.integers(len(main)))]
        twig = path(rng, 0, 0, length * rng.uniform(0.15, 0.6), rng.uniform(0.1, 0.4))
        lines.append(twig - twig[0] + root)
    return lines


def crack(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A dark branching line, thick here and hair-thin there; on rolled metal often straight along the grain."""
    size = stage.size
    # On a surface that fills the picture cracks often run right through it.
    length = spot.length(rng, 0.8, 3.2) if chance(rng, 0.4) else spot.length(rng, 0.2, 2.0)
    width = log_uniform(rng, 0.6, 3.0)
    if chance(rng, 0.2):
        line = path(rng, spot.x, spot.y, length, 0.02)
        square = np.array([[0, 1], [-1, 0]]) if chance(rng, 0.5) else np.eye(2)
        lines = [
            np.stack([np.full(len(line), 0.0), np.linspace(-length / 2, length / 2, len(line))], -1) @ square
        ]
        lines[0] = lines[0] + [spot.x, spot.y] + np.cumsum(rng.normal(0, 0.25, lines[0].shape), 0)
    else:
        lines = crack_lines(rng, spot, length, some(rng, 6, 0.45) - 1)
    area = np.zeros((size, size), np.float32)
    for index, line in enumerate(lines):
        area = np.maximum(
            area, stroke(size, line, width if index == 0 else width * rng.uniform(0.5, 1), taper=index > 0)
        )
    x_shift = smooth_noise(rng, size, rng.uniform(3, 8)) * rng.uniform(0, 1.5)
    area = displace(area, x_shift, np.roll(x_shift, size // 3)) * stage.part
    alpha = area * patchy(rng, size, rng.uniform(5, 30), 0.3)
    light_crack = chance(rng, 0.08)
    surface = raised(stage.surface, -alpha * rng.uniform(0.3, 3) * width)
    surface = multiplied(surface, rng.uniform(1.3, 2.0) if light_crack else rng.uniform(0.15, 0.75), alpha)
    return Edit(surface, area, thin=True)


def fibre(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A hair or thread lying on top, with a slight shadow; it may hang over the edge."""
    size = stage.size
    length = spot.length(rng, 0.25, 2.0)
    width = log_uniform(rng, 0.8, 3)
    line = path(rng, spot.x, spot.y, length, rng.uniform(0.05, 0.25), rng.normal(0, 2))
    area = np.zeros((size, size), np.float32)
    for _ in range(some(rng, 3, 0.8)):
        area = np.maximum(area, stroke(size, line + rng.normal(0, 3, 2), width))
    shadow = blur(np.roll(area, (round(stage.light.down * 2), round(stage.light.across * 2)), (0, 1)), 1)
    surface = multiplied(stage.surface, rng.uniform(0.6, 0.95), shadow)
    surface = painted(surface, colour(rng, pick(rng, ("any", "pale", "dark"))), area * rng.uniform(0.6, 1))
    return Edit(raised(surface, area * width), area, thin=True)


def cut(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A clean slit that gapes in the middle: dark inside, one lip bright."""
    size = stage.size
    length = spot.length(rng, 0.15, 1.3)
    line = path(rng, spot.x, spot.y, length, 0.02, rng.normal(0, 0.4))
    width = max(1.2, length * rng.uniform(0.02, 0.12))
    area = stroke(size, line, width, taper=True) * stage.part
    lips = blur(area, 1.2)
    surface = raised(stage.surface, -area * width * rng.uniform(0.5, 2) + (lips - area) * width)
    below = multiplied(surface, rng.uniform(0.05, 0.45), area)
    if chance(rng, 0.3):
        below = painted(surface, colour(rng), area * rng.uniform(0.6, 1))
    return Edit(below, np.maximum(area, (lips > 0.25) * 0.5), thin=True)


def fold(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A crease: one soft ridge, or several; seen by its shading, and a little lighter or darker on top."""
    size = stage.size
    length = spot.length(rng, 0.4, 2.2)
    width = spot.length(rng, 0.02, 0.12)
    line = path(rng, spot.x, spot.y, length, rng.uniform(0, 0.06), rng.normal(0, 0.5))
    core = np.zeros((size, size), np.float32)
    for index in range(some(rng, 4, 0.6)):
        core = np.maximum(core, stroke(size, line + index * rng.normal(0, 3 * width, 2), width, taper=True))
    ridge = blur(core, max(0.8, width * 0.5)) * stage.part
    sign = rng.choice([-1.0, 1.0])
    surface = raised(
        stage.surface, sign * ridge * width * rng.uniform(1, 3.5) / max(stage.light.relief * 3, 0.5)
    )
    surface = multiplied(surface, 1 + sign * rng.uniform(-0.05, 0.25), ridge)
    return Edit(surface, np.clip(ridge * 2.5, 0, 1))


def gap_area(rng: Rng, size: int, spot: Spot, length: float, width: float) -> Array:
    """A wedge with ragged flanks from (x, y): wide at one end, closed at the other."""
    line = path(rng, spot.x, spot.y, length, rng.uniform(0.03, 0.15))
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], -1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
    half = np.linspace(1, 0.04, len(line))[:, None] * width / 2
    left = line + normal * (half + np.abs(rng.normal(0, width * 0.08, half.shape)))
    right = line - normal * (half + np.abs(rng.normal(0, width * 0.08, half.shape)))
    mask = np.zeros((size, size), np.uint8)
    polygon = np.concatenate([left, right[::-1]])
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    field = mask.astype(np.float32) / 255
    wobble = fractal_noise(rng, size, rng.uniform(4, 10), 3) * min(width * 0.12, 1.8)
    return displace(field, wobble, np.roll(wobble, size // 2, 0))


def break_(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Broken: a part falls into two that gape, or a wedge opens through the surface."""
    if stage.part.min() < 0.5 and chance(rng, 0.6):
        return _in_two(rng, stage, spot)
    size = stage.size
    length = spot.length(rng, 0.5, 1.8)
    area = gap_area(rng, size, spot, length, length * rng.uniform(0.06, 0.35)) * stage.part
    if stage.part.min() > 0.5:
        depth = np.full_like(area, rng.uniform(0, 0.6))
        deep = mix(stage.surface.albedo * rng.uniform(0.05, 0.4), stage.behind, depth)
    else:
        deep = stage.behind * rng.uniform(0.4, 1)
    return _torn(rng, stage, stage.surface, deep, area)


def _torn(rng: Rng, stage: Stage, surface: Surface, deep: Array, area: Array) -> Edit:
    """Open an area to what lies deeper; its flanks are rough and of another tone."""
    flank = np.clip(np.clip(blur(area, rng.uniform(1.5, 4)) * 2, 0, 1) - area, 0, 1)
    rough = fractal_noise(rng, stage.size, 3, 2)
    toned = multiplied(surface, rng.uniform(0.7, 1.3), flank * stage.part)
    height = toned.height * (1 - area) + flank * rough * rng.uniform(0, 1.5)
    return Edit(Surface(mix(toned.albedo, deep, area), height, surface.gloss, ""), area)


def _in_two(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """One piece of the part turns away about a hinge and slides; the gap between the pieces is the damage."""
    size = stage.size
    x, y = coordinates(size)
    angle = rng.uniform(0, 2 * np.pi)
    jag = (
        fractal_noise(rng, size, spot.radius * rng.uniform(0.1, 0.5), 4)
        * spot.radius
        * rng.uniform(0.02, 0.1)
    )
    beyond = (x - spot.x) * np.cos(angle) + (y - spot.y) * np.sin(angle) + jag
    near_spot = np.hypot(x - spot.x, y - spot.y) < 2.2 * spot.radius
    piece = np.clip(beyond, 0, 1) * stage.part * near_spot
    rest = stage.part * (1 - piece)
    along = np.array([-np.sin(angle), np.cos(angle)]) * spot.radius * rng.uniform(-1.2, 1.2)
    slide = np.array([np.cos(angle), np.sin(angle)]) * spot.radius * rng.uniform(0, 0.12)
    degrees = rng.uniform(3, 28) * (1 if along @ [-np.sin(angle), np.cos(angle)] > 0 else -1)
    stacked = np.dstack([stage.surface.albedo, stage.surface.height, piece])
    hinge = (float(spot.x + along[0]), float(spot.y + along[1]))
    swept = np.zeros_like(piece)
    for share in (0.0, 0.25, 0.5, 0.75):
        swept = np.maximum(swept, _turned_away(piece, hinge, degrees * share, slide * share))
    moved = _turned_away(stacked, hinge, degrees, slide)
    there = np.clip(moved[..., 4], 0, 1)
    albedo = mix(mix(stage.behind, stage.surface.albedo, rest), moved[..., :3], there)
    height = mix(stage.surface.height * rest, moved[..., 3], there)
    gap = np.clip(np.maximum(swept, stage.part) - np.maximum(rest, there), 0, 1)
    return Edit(
        Surface(albedo, height, stage.surface.gloss, ""), gap * near_spot, part=np.maximum(rest, there)
    )


def _turned_away(image: Array, hinge: tuple[float, float], degrees: float, slide: Array) -> Array:
    matrix = cv2.getRotationMatrix2D(hinge, degrees, 1.0)
    matrix[:, 2] += slide
    return cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0]))


def slip(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A strip shifted against its neighbours, as a pulled thread, a weaving fault or a slipped print."""
    size = stage.size
    x, y = coordinates(size)
    upright = chance(rng, 0.5)
    across, along = (x - spot.x, y - spot.y) if upright else (y - spot.y, x - spot.x)
    width, length = spot.length(rng, 0.015, 0.1), spot.length(rng, 0.4, 2)
    area = np.clip(width - np.abs(across), 0, 1) * np.clip(length - np.abs(along), 0, 1) * stage.part
    shift = rng.choice([-1, 1]) * rng.uniform(2, 4 + width * 2)
    both = np.dstack([stage.surface.albedo, stage.surface.height])
    zero = np.zeros_like(area)
    moved = displace(both, zero, zero + shift) if upright else displace(both, zero + shift, zero)
    tone = 1 + rng.normal(0, 0.15)
    albedo = mix(stage.surface.albedo, moved[..., :3] * tone, area)
    return Edit(
        Surface(albedo, mix(stage.surface.height, moved[..., 3], area), stage.surface.gloss, ""), area
    )
