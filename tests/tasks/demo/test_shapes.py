"""Shapes of the demo data: outlines, parts, and that the two families share nothing."""

import numpy as np
import pytest
from skimage.measure import points_in_poly

from tag2mask.tasks.demo.shapes import CLASS_SHAPES, SALIENT_SHAPES, BoolArray, FloatArray, polygon

SHAPES = {**CLASS_SHAPES, **SALIENT_SHAPES}


def frame(turn: float = 0.0) -> tuple[FloatArray, FloatArray]:
    v, u = np.mgrid[-1.3:1.3:131j, -1.3:1.3:131j]
    return np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u


def overlap(first: BoolArray, second: BoolArray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("name", SHAPES)
def test_shape_fills_the_unit_disc_and_no_more(name: str) -> None:
    """A shape stays within the unit disc, reaches near its edge, and its part is a fraction of it in two colors."""
    u, v = frame()
    for seed in range(20):
        layers = SHAPES[name](u, v, np.random.default_rng(seed))
        reach = np.hypot(u, v)[layers.inside].max()
        assert 0.7 < reach <= 1.0
        assert not (layers.part & ~layers.inside).any()
        assert 0.1 < layers.part.sum() / layers.inside.sum() < 0.75
        assert 0.1 < layers.texture[layers.part].mean() < 0.9


def test_families_share_no_shape() -> None:
    """The saliency set's names and functions are none of the classes'."""
    assert not set(CLASS_SHAPES) & set(SALIENT_SHAPES)
    assert not set(CLASS_SHAPES.values()) & set(SALIENT_SHAPES.values())


@pytest.mark.parametrize("name", SALIENT_SHAPES)
def test_families_share_no_outline(name: str) -> None:
    """However it is turned, a shape of the saliency set does not cover a class's shape."""
    u, v = frame()
    for seed in range(3):
        salient = SALIENT_SHAPES[name](u, v, np.random.default_rng(seed)).inside
        for shape in CLASS_SHAPES.values():
            for turn in np.arange(0, 2 * np.pi, 0.2):
                assert overlap(salient, shape(*frame(turn), np.random.default_rng(seed)).inside) < 0.9


def test_polygon_agrees_with_an_independent_one() -> None:
    """A polygon, convex or not, holds the same points as the one of scikit-image."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 8))
        radii = rng.uniform(0.2, 1.0, 8)
        corners = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        points = rng.uniform(-1, 1, (500, 2))
        expected = points_in_poly(points, corners)
        assert (polygon(points[:, 0], points[:, 1], [(a, b) for a, b in corners]) == expected).all()


def test_polygon_with_a_level_edge() -> None:
    """An edge along u, which the ray of the even-odd rule runs along, does no harm."""
    u, v = np.array([0.5, 1.5, -0.5, 0.5]), np.array([0.5, 0.5, 0.5, 1.5])
    assert polygon(u, v, [(0, 0), (1, 0), (1, 1), (0, 1)]).tolist() == [True, False, False, False]
