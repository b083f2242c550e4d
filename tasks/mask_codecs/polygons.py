"""Masks as polygons: one a connected region, its holes cut in by bridges; and back, by the centers of the pixels.

A polygon runs halfway between pixels inside and pixels outside (marching squares), and is then simplified (Douglas and
Peucker, 1973).  A list of points has no holes, so a region's outline goes over to each hole by a line, around it, and
back by the same line, which has no area.
"""

import numpy as np
from scipy import ndimage
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours

TOLERANCE = 0.4
"""Largest distance that simplifying moves an outline by, in pixels.  Of 43 masks of VOC it keeps a mean IoU of 0.9999
with a quarter of the points; 0.5 keeps 0.9933 with a fifth."""


def polygons_of(mask: np.ndarray, tolerance: float = TOLERANCE) -> list[np.ndarray]:
    """Polygons (N, 2) float64 of an (H, W) bool mask, x and y in pixels, a pixel's center at its index and a half.

    Args:
        mask: what to outline.
        tolerance: largest distance that simplifying moves an outline by; 0 keeps every center on its side.
    """
    regions, _ = ndimage.label(mask)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(regions), start=1):
        region = np.pad(regions[rows, columns] == number, 1)
        outlines = sorted(find_contours(region, 0.5), key=_area, reverse=True)
        outer, *holes = (_simplified(outline, tolerance) for outline in outlines)
        for hole in holes:
            outer = _bridged(outer, hole)
        shift = np.array([rows.start - 0.5, columns.start - 0.5])  # the rim of one, and centers at a half
        found.append((outer + shift)[:-1, ::-1])
    return found


def holes_of(mask: np.ndarray) -> int:
    """Number of holes of an (H, W) bool mask: background that does not reach the image's border."""
    outside, count = ndimage.label(np.pad(~mask, 1, constant_values=True), structure=np.ones((3, 3)))
    return int(count) - 1


def mask_of_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: pixels whose centers lie in a polygon (N, 2) of x and y in pixels."""
    return np.asarray(polygon2mask(size, points[:, ::-1] - 0.5))


def _area(outline: np.ndarray) -> float:
    """Area within a closed outline (N, 2), in pixels."""
    rows, columns = outline[:, 0], outline[:, 1]
    return abs(float(rows[:-1] @ columns[1:] - columns[:-1] @ rows[1:])) / 2


def _simplified(outline: np.ndarray, tolerance: float) -> np.ndarray:
    """A closed outline with fewer points; as it is where that would leave no area."""
    fewer = approximate_polygon(outline, tolerance)
    return fewer if len(fewer) > 3 and _area(fewer) > 0 else outline


def _bridged(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A closed outline that goes around a hole, too, by the shortest line between points of the two."""
    distances = ((outer[:, None] - hole[None]) ** 2).sum(axis=2)
    at, there = divmod(int(distances.argmin()), len(hole))
    around = np.concatenate([hole[there:-1], hole[: there + 1]])
    return np.concatenate([outer[: at + 1], around, outer[at:]])
