"""Gaussian filtering of scattered points on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010).

Every point lies in a simplex of the lattice, whose d + 1 vertices take its value in barycentric shares ("splat").  The
vertices blur along each of the d + 1 lattice directions with the weights 1/2, 1, 1/2, and give the values back by the
same shares ("slice").  The time grows with the points, not with the reach of the filter.

Nothing here loops over points: splat and slice are products with one sparse matrix, vertices are distinguished by an
integer code of their coordinates, which pandas' hash tables look up.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from tag2mask.configs.errors import UserError

AT_ONCE = 4
"""Planes filtered together, one vector of the processor: four take twice the time of one."""

CODE_LIMIT = 2**62
"""Codes of vertices, with room for their neighbors', stay below this."""


class SpreadTooFar(UserError, ValueError):
    """Standard deviations are too small for what the points of a filter spread."""


class Lattice:
    """The lattice around N points: built once, it filters any number of values given at these points.

    Args:
        features: (d, N) float32, positions in units of the filter's standard deviation.

    Raises:
        SpreadTooFar: the points spread too far for the vertices to be numbered.
    """

    def __init__(self, features: np.ndarray) -> None:
        count = features.shape[1]
        simplex = _enclosing_simplex(features)
        codes, units = _vertex_codes(simplex)
        tables, vertices, first = [], np.empty((count, len(codes)), np.int32), [0]
        for color, code in enumerate(codes):
            numbers, unique = pd.factorize(code)
            vertices[:, color] = numbers
            vertices[:, color] += first[-1]
            tables.append(pd.Index(unique))
            first.append(first[-1] + len(unique))
        starts = np.arange(count + 1, dtype=np.int32) * len(codes)
        shares = np.ascontiguousarray(_barycentric_shares(simplex.offsets).T)  # (d + 1, N) -> (N, d + 1)
        self._slice = csr_array((shares.ravel(), vertices.ravel(), starts), shape=(count, first[-1]))
        self._splat = self._slice.T
        self._neighbors = _neighbors(tables, units, first)
        self._gain = np.float32(1 / (1 + 2.0 ** -len(units)))

    def filter(self, planes: np.ndarray) -> np.ndarray:
        """Filter K values a point.

        Args:
            planes: (K, N) float32.

        Returns:
            (K, N) float32.
        """
        filtered = np.empty_like(planes)
        for start in range(0, len(planes), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            filtered[some] = self._filter_some(planes[some])
        return filtered

    def _filter_some(self, planes: np.ndarray) -> np.ndarray:
        """Up to `AT_ONCE` planes (K, N), several of them as that many."""
        width = 1 if len(planes) == 1 else AT_ONCE
        values = np.zeros((planes.shape[1], width), np.float32)
        values[:, : len(planes)] = planes.T
        held = np.zeros((self._splat.shape[0] + 1, width), np.float32)  # the last one for vertices that do not exist
        held[:-1] = self._splat @ values
        for before, after in self._neighbors:
            around = np.take(held, before, axis=0, mode="clip")  # `clip` only saves the check of the bounds
            around += np.take(held, after, axis=0, mode="clip")
            around *= np.float32(0.5)
            held[:-1] += around
        filtered: np.ndarray = self._slice @ held[:-1]
        filtered *= self._gain
        return filtered.T[: len(planes)]


@dataclass(frozen=True)
class _Simplex:
    """Where points lie, on the hyperplane of d + 1 coordinates that sum to zero."""

    cells: np.ndarray
    """(d + 1, N) float32, integers: the vertex of color 0 of a point's simplex, over d + 1."""
    offsets: np.ndarray
    """(d + 1, N) float32: the point minus that vertex, over d + 1."""
    ranks: np.ndarray
    """(d + 1, N) int8: how many of the point's offsets are greater."""


def _enclosing_simplex(features: np.ndarray) -> _Simplex:
    """Find the simplex of each point (d, N): round to the nearest vertex of color 0, then walk to the right one."""
    points = _elevated(features)
    size = len(points)
    points /= np.float32(size)
    cells = np.rint(points)
    offsets = points - cells
    ranks = np.zeros(points.shape, np.int8)
    for one in range(size):
        for other in range(one + 1, size):
            less = offsets[one] < offsets[other]
            ranks[one] += less
            ranks[other] += ~less
    ranks += cells.sum(axis=0).astype(np.int8)  # what rounding took off or added too much
    steps = (ranks < 0).astype(np.int8) - (ranks >= size)
    ranks += steps * np.int8(size)
    cells += steps
    offsets -= steps
    return _Simplex(cells, offsets, ranks)


def _elevated(features: np.ndarray) -> np.ndarray:
    """Bring points (d, N) to the hyperplane (d + 1, N), where one standard deviation spans what the blur spans."""
    dimensions, count = features.shape
    numbers = np.arange(1, dimensions + 1)
    scales = np.sqrt(2 / 3) * (dimensions + 1) / np.sqrt(numbers * (numbers + 1))
    scaled = features * scales.astype(np.float32)[:, None]
    points = np.empty((dimensions + 1, count), np.float32)
    total = np.zeros(count, np.float32)
    for number in range(dimensions, 0, -1):
        points[number] = total - np.float32(number) * scaled[number - 1]
        total += scaled[number - 1]
    points[0] = total
    return points


def _barycentric_shares(offsets: np.ndarray) -> np.ndarray:
    """(d + 1, N) float32: each point's shares in the vertices of color 0, 1 .. d, from its offsets (d + 1, N)."""
    falling = _sorted_down(offsets)
    shares = np.empty_like(falling)
    shares[0] = 1 + falling[-1] - falling[0]
    shares[1:] = falling[-2::-1] - falling[:0:-1]
    return shares


def _sorted_down(values: np.ndarray) -> np.ndarray:
    """Sort each column of a few rows, largest first, by swapping neighboring rows in as many rounds as rows."""
    rows = list(values)
    for turn in range(len(rows)):
        for upper in range(turn % 2, len(rows) - 1, 2):
            pair = rows[upper], rows[upper + 1]
            rows[upper], rows[upper + 1] = np.maximum(*pair), np.minimum(*pair)
    return np.stack(rows)


def _vertex_codes(simplex: _Simplex) -> tuple[list[np.ndarray], list[int]]:
    """Number the vertices.

    The vertex of color c of a simplex lies at (d + 1) * cells + c, less d + 1 where the rank exceeds d - c.  Its first
    d coordinates, each divided by d + 1, are the digits of its code; the color is what is left over.

    Returns:
        For each color (N,) int64 codes, different for different vertices of that color; and the units of the d digits.
    """
    dimensions = len(simplex.cells) - 1
    cells = simplex.cells[:dimensions].astype(np.int64)
    cells -= cells.min(axis=1, keepdims=True) - 2  # a vertex may lie one cell below, and its neighbor another
    units = [1]
    for span in cells.max(axis=1).tolist():
        units.append(units[-1] * (span + 2))
    if units.pop() >= CODE_LIMIT:
        raise SpreadTooFar(f"points spread over {cells.max()} cells of the lattice, too far to number its vertices")
    code = np.zeros(cells.shape[1], np.int64)
    for unit, cell in zip(units, cells, strict=True):
        code += unit * cell
    codes = [code]
    for color in range(1, dimensions + 1):
        code = code.copy()
        for unit, rank in zip(units, simplex.ranks, strict=False):
            code -= unit * (rank == dimensions - color + 1)
        codes.append(code)
    return codes, units


def _neighbors(tables: list[pd.Index], units: list[int], first: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Find the two neighbors of every vertex in each lattice direction.

    The neighbor before a vertex in direction j has one less in all coordinates but the j-th, which has d more: it is
    of the color before, and its digits are the same but for the j-th, which has one more (of color 0: all others have
    one less).

    Args:
        tables: for each color, the codes of its vertices in the order of their numbers.
        units: of the digits of the codes.
        first: number of each color's first vertex, and of the first that is not there.

    Returns:
        For each direction, numbers (M,) of the vertices before and after; M where there is none.
    """
    missing = first[-1]
    found = []
    for unit in (*units, 0):  # the last coordinate is no digit: it follows from the others
        before, after = np.full(missing, missing), np.full(missing, missing)
        for color, table in enumerate(tables):
            wanted = table.to_numpy() + (unit if color else unit - sum(units))
            position = tables[color - 1].get_indexer(pd.Index(wanted))
            here = np.flatnonzero(position >= 0)
            there = position[here] + first[color - 1 if color else len(tables) - 1]
            here += first[color]
            before[here], after[there] = there, here
        found.append((before, after))
    return found
