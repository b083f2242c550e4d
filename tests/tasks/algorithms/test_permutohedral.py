"""The permutohedral lattice: a slow oracle, Gaussian weights, linearity, and doors."""

import numpy as np
import pytest

from tag2mask.tasks.algorithms.permutohedral import AT_ONCE, Lattice, SpreadTooFar
from tests.tasks.algorithms.plain_lattice import lattice_filter


def points(seed: int, dimensions: int, count: int, spread: float = 2.0) -> np.ndarray:
    """(d, N) float32 scattered positions."""
    return np.random.default_rng(seed).normal(0, spread, (dimensions, count)).astype(np.float32)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_filtering_equals_the_article_point_by_point(dimensions: int, seed: int) -> None:
    """Values filtered on the lattice equal those of a dictionary of vertices that is filled one point at a time."""
    features = points(seed, dimensions, 200)
    values = np.random.default_rng(seed).random(200, np.float32)
    found = Lattice(features).filter(values[None])[0]
    np.testing.assert_allclose(found, lattice_filter(features.astype(float), values), rtol=1e-4, atol=1e-5)


def test_weights_fall_as_a_gaussian() -> None:
    """Means over a dense line of points are close to those by the Gaussian's own weights."""
    line = np.linspace(-6, 6, 400, dtype=np.float32)[None]
    values = np.sin(1.5 * line).astype(np.float32)
    lattice = Lattice(line)
    found = lattice.filter(values) / lattice.filter(np.ones_like(values))
    weights = np.exp(-((line - line.T) ** 2) / 2)
    np.testing.assert_allclose(found[0], weights @ values[0] / weights.sum(axis=1), atol=0.05)


def test_points_far_apart_do_not_mix() -> None:
    """A value reaches its neighborhood and nothing twenty standard deviations away."""
    features = np.concatenate([points(3, 3, 50, 0.3), points(4, 3, 50, 0.3) + 20], axis=1)
    values = np.concatenate([np.ones(50), np.zeros(50)]).astype(np.float32)
    found = Lattice(features).filter(values[None])[0]
    assert (found[:50] > 1).all() and not found[50:].any()


@pytest.mark.parametrize("count", [1, 2, 3, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3])
def test_planes_are_filtered_independently(count: int) -> None:
    """Each of several planes comes out as it does alone, whatever their number."""
    planes = np.random.default_rng(5).random((count, 80), np.float32)
    lattice = Lattice(points(5, 5, 80))
    alone = np.concatenate([lattice.filter(plane[None]) for plane in planes])
    np.testing.assert_allclose(lattice.filter(planes), alone, rtol=1e-5)


def test_filtering_is_linear() -> None:
    """The sum of two planes comes out as the sum of theirs."""
    one, other = np.random.default_rng(6).random((2, 1, 60), np.float32)
    lattice = Lattice(points(6, 2, 60))
    np.testing.assert_allclose(lattice.filter(one + other), lattice.filter(one) + lattice.filter(other), rtol=1e-5)


def test_inputs_stay_as_they_are() -> None:
    """Neither positions nor values change."""
    features, values = points(7, 2, 30), np.ones((1, 30), np.float32)
    before = features.copy()
    Lattice(features).filter(values)
    np.testing.assert_array_equal(features, before)
    assert (values == 1).all()


def test_points_that_spread_too_far_are_refused() -> None:
    """Where vertices cannot be numbered any more, the error says how far the points spread."""
    with pytest.raises(SpreadTooFar, match=r"points spread over \d+ cells of the lattice, too far to number"):
        Lattice(points(8, 5, 100, 1e4))
