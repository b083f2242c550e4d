"""The permutohedral lattice and the mean field of the dense CRF point by point, in float64: a slow oracle.

Written from the articles (Adams, Baek and Davis 2010, section 3; Krähenbühl and Koltun 2011), with a dictionary of
vertices and no shortcut: every plane is filtered.
"""

from collections import defaultdict

import numpy as np

Vertex = tuple[int, ...]


def elevate(position: np.ndarray) -> np.ndarray:
    """Bring a point of d coordinates to d + 1 that sum to zero, one standard deviation being sqrt(2/3) (d + 1) long."""
    d = len(position)
    basis = np.zeros((d + 1, d))
    for column in range(d):
        basis[: column + 1, column] = 1
        basis[column + 1, column] = -(column + 1)
    basis /= np.linalg.norm(basis, axis=0)
    raised: np.ndarray = basis @ position * np.sqrt(2 / 3) * (d + 1)
    return raised


def simplex(point: np.ndarray) -> list[tuple[Vertex, float]]:
    """The vertices around a point of the hyperplane, with its barycentric shares."""
    size = len(point)
    nearest = np.round(point / size) * size
    surplus = round(nearest.sum() / size)
    order = np.argsort(point - nearest, kind="stable")
    nearest[order[:surplus] if surplus > 0 else order[size + surplus :]] -= size * np.sign(surplus)
    falling = np.argsort(nearest - point, kind="stable")
    offsets = (point - nearest)[falling] / size
    vertices = []
    for color in range(size):
        vertex = nearest.copy()
        vertex[falling[: size - color]] += color
        vertex[falling[size - color :]] += color - size
        share = offsets[size - 1 - color] - offsets[size - color] if color else 1 - offsets[0] + offsets[-1]
        vertices.append((tuple(int(value) for value in np.round(vertex)), float(share)))
    return vertices


def lattice_filter(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Filter values (N,) at points (d, N): splat, blur along each direction in turn, slice."""
    size = len(features) + 1
    points = [simplex(elevate(position)) for position in features.T]
    held: dict[Vertex, float] = defaultdict(float)
    for vertices, value in zip(points, values, strict=True):
        for vertex, share in vertices:
            held[vertex] += share * value
    for direction in range(size):
        step = np.full(size, 1)
        step[direction] -= size
        held = {
            vertex: value + sum(held.get(tuple(np.array(vertex) + way * step), 0.0) for way in (-1, 1)) / 2
            for vertex, value in held.items()
        }
    gain = 1 / (1 + 2.0 ** -(size - 1))
    return np.array([gain * sum(share * held[vertex] for vertex, share in vertices) for vertices in points])


def mean_field(
    image: np.ndarray, probabilities: np.ndarray, *, iterations: int, gaussian_xy: float, bilateral_xy: float
) -> np.ndarray:
    """Marginals (K, H, W) of an image (H, W, 3) with the weights 3 and 4 and colors 3 wide; see `refine`."""
    height, width = image.shape[:2]
    place = np.stack([np.tile(np.arange(width), height), np.repeat(np.arange(height), width)]).astype(float)
    features = (3.0, place / gaussian_xy), (4.0, np.concatenate([place / bilateral_xy, image.reshape(-1, 3).T / 3]))
    kernels = [(w, f, 1 / np.sqrt(lattice_filter(f, np.ones(height * width)))) for w, f in features]
    evidence = np.log(np.maximum(probabilities, 1e-5).astype(float)).reshape(len(probabilities), -1)
    scores = evidence
    for _ in range(iterations):
        marginals = np.exp(scores) / np.exp(scores).sum(axis=0)
        scores = evidence.copy()
        for weight, positions, factor in kernels:
            scores += [weight * factor * lattice_filter(positions, factor * plane) for plane in marginals]
    marginals = np.exp(scores) / np.exp(scores).sum(axis=0)
    return marginals.reshape(probabilities.shape)
