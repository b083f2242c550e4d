"""Shapes of the drawn demo data: five classes for the scenes, five other shapes for the saliency set.

A shape is a function of a local frame (u, v) in which it fills about the unit disc, so that the caller decides on
place, size, rotation and stretch by the coordinates it hands in. Each object has a plain body and one strongly
textured part, as an animal has a head: a classifier needs the part alone, a mask needs the whole. The two families
share neither an outline nor a texture, so that the saliency set tells nothing about a class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Layers:
    """What a shape puts on its frame; all arrays have the shape of the coordinates.

    Attributes:
        inside: the whole object.
        part: its textured part, within `inside`.
        texture: which of the part's two colors shows, True for the second; has a meaning within `part` only.
    """

    inside: BoolArray
    part: BoolArray
    texture: BoolArray


Shape = Callable[[FloatArray, FloatArray, np.random.Generator], Layers]


def polygon(u: FloatArray, v: FloatArray, corners: list[tuple[float, float]]) -> BoolArray:
    """Points inside a simple polygon, by the even-odd rule (a ray along +u crosses the border an odd number of times).

    Args:
        u: first coordinate, any shape.
        v: second coordinate, the shape of `u`.
        corners: (u, v) in order; the last is joined to the first. The polygon need not be convex.

    Returns:
        Boolean, shape of `u`.
    """
    inside = np.zeros(u.shape, dtype=np.bool_)
    for (u0, v0), (u1, v1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if v0 != v1:  # the ray runs along a level edge and never crosses it
            inside ^= ((v0 > v) != (v1 > v)) & (u < u0 + (v - v0) * (u1 - u0) / (v1 - v0))
    return inside


def _square_wave(position: FloatArray, period: float, rng: np.random.Generator) -> BoolArray:
    """Alternate True and False with a random phase; each lasts half a period."""
    return (position / period + rng.random()) % 1.0 < 0.5


def _net(u: FloatArray, v: FloatArray, mesh: float) -> BoolArray:
    """Slanting lines of two directions; True on the lines, `mesh` apart along u and v."""
    return (((u + v) / mesh) % 1.0 < 0.38) | (((u - v) / mesh) % 1.0 < 0.38)


def _dots(u: FloatArray, v: FloatArray, pitch: float, rng: np.random.Generator) -> BoolArray:
    """Discs in a square grid; True within them."""
    across, along = ((w / pitch + rng.random()) % 1.0 - 0.5 for w in (u, v))
    return across**2 + along**2 < 0.36**2


# The five classes -----------------------------------------------------------------------------------------------------


def beetle(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """An ellipse along u; the part is one end of it, striped across."""
    inside = (u / 0.98) ** 2 + (v / rng.uniform(0.5, 0.68)) ** 2 <= 1
    return Layers(inside, inside & (u > rng.uniform(-0.1, 0.2)), _square_wave(u, rng.uniform(0.34, 0.44), rng))


def buoy(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """A ring around a hole that shows the background; the part is nearly half the ring, in zigzags."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    inside = (radius <= 0.96) & (radius >= rng.uniform(0.42, 0.54))
    zigzag = u + 0.16 * np.abs((v / 0.4) % 2.0 - 1.0)
    part = inside & (np.abs(angle) < rng.uniform(1.2, 1.7))
    return Layers(inside, part, _square_wave(zigzag, rng.uniform(0.32, 0.4), rng))


def flower(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """Rounded petals, five or six; the part is the middle, a checkerboard."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    inside = radius <= 0.72 + 0.25 * np.cos(int(rng.integers(5, 7)) * angle)
    side = rng.uniform(0.4, 0.5)
    checker = _square_wave(u, side, rng) ^ _square_wave(v, side, rng)
    return Layers(inside, inside & (radius <= 0.5), checker)


def kite(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """Four corners, the shoulders off the middle; the part is the blunt end, dotted."""
    shoulder, width = rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.75)
    inside = polygon(u, v, [(0.97, 0.0), (shoulder, width), (-0.97, 0.0), (shoulder, -width)])
    return Layers(inside, inside & (u > shoulder - 0.25), _dots(u, v, rng.uniform(0.32, 0.4), rng))


def star(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """Five straight points; the part is the middle, netted."""
    inner = rng.uniform(0.4, 0.5)
    turns = np.arange(10) * np.pi / 5
    corners = [(float(r * np.cos(t)), float(r * np.sin(t))) for t, r in zip(turns, [0.98, inner] * 5, strict=True)]
    inside = polygon(u, v, corners)
    return Layers(inside, inside & (np.hypot(u, v) < 0.52), _net(u, v, rng.uniform(0.38, 0.46)))


# The saliency set -----------------------------------------------------------------------------------------------------


def arrow(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """A shaft with a triangular tip; the part is the tip, with plus signs."""
    half, neck = rng.uniform(0.2, 0.32), rng.uniform(0.0, 0.3)
    corners = [(-0.94, half), (neck, half), (neck, 0.75), (0.95, 0.0), (neck, -0.75), (neck, -half), (-0.94, -half)]
    inside = polygon(u, v, corners)
    pitch = rng.uniform(0.4, 0.5)
    across, along = (np.abs((w / pitch) % 1.0 - 0.5) for w in (u, v))
    plus = (np.minimum(across, along) < 0.13) & (np.maximum(across, along) < 0.38)
    return Layers(inside, inside & (u > neck), plus)


def blob(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """A smooth random outline; the part is one side of it, in irregular spots."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    outline = np.full(u.shape, 0.7)
    for order in (2, 3, 4):
        outline += rng.uniform(0.03, 0.09) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    inside = radius <= outline
    spots = np.sin(7 * u + 3 * v + rng.uniform(0, 6)) + np.sin(8 * v - 4 * u + rng.uniform(0, 6))
    return Layers(inside, inside & (u > rng.uniform(-0.1, 0.3)), spots > 0.2)


def crescent(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """A disc with a disc cut from it; the part is one horn, in staggered dashes."""
    cut = rng.uniform(0.4, 0.6)
    inside = (np.hypot(u, v) <= 0.96) & (np.hypot(u - cut, v) >= 0.75)
    row, along = u / rng.uniform(0.24, 0.3), v / rng.uniform(0.4, 0.5)
    dashes = (row % 1.0 < 0.5) & ((along + 0.4 * np.floor(row)) % 1.0 < 0.6)
    return Layers(inside, inside & (v > rng.uniform(0.0, 0.3)), dashes)


def heart(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """Two lobes and a point; the part is the point, in rows of triangles."""
    x, y = 1.4 * v, 0.1 - 1.4 * u
    inside = (x**2 + y**2 - 1) ** 3 - x**2 * y**3 <= 0
    pitch = rng.uniform(0.34, 0.44)
    triangles = 2 * np.abs((v / pitch) % 1.0 - 0.5) < (u / pitch + rng.random()) % 1.0
    return Layers(inside, inside & (u > rng.uniform(0.0, 0.25)), triangles)


def house(u: FloatArray, v: FloatArray, rng: np.random.Generator) -> Layers:
    """A box under a roof; the part is the roof, in bricks."""
    half, eave = rng.uniform(0.5, 0.65), rng.uniform(0.0, 0.3)
    corners = [(-0.75, half), (eave, half), (eave - 0.05, 0.8), (0.95, 0.0), (eave - 0.05, -0.8), (eave, -half)]
    inside = polygon(u, v, [*corners, (-0.75, -half)])
    row = np.floor(u / 0.25)
    mortar = ((u / 0.25) % 1.0 < 0.3) | ((v / 0.5 + 0.5 * (row % 2)) % 1.0 < 0.2)
    return Layers(inside, inside & (u > eave - 0.1), mortar)


CLASS_SHAPES: dict[str, Shape] = {"beetle": beetle, "buoy": buoy, "flower": flower, "kite": kite, "star": star}
SALIENT_SHAPES: dict[str, Shape] = {"arrow": arrow, "blob": blob, "crescent": crescent, "heart": heart, "house": house}
