"""Saliency without any training: robust background detection (Zhu et al., CVPR 2014).

An image's frame cuts through its background and seldom through an object.  So a region belongs to the background if
much of what looks like it lies at the frame, for its size (boundary connectivity).  Salient is what differs in color
from the background nearby, smoothed over neighboring superpixels of one color.

Constants are those of the text.  Where the text leaves something open, or its textures make everything far from the
frame, this does what the authors' own program is known to do:
- a step between two neighbors costs only what it differs more than is usual for the image;
- the contrast is brought to [0, 1], so that it weighs as much as the background, and its lower class (Otsu) is dropped;
- background weighs five times as much as contrast, and what is connected beyond 3 is background for certain;
- colors are evened out over neighbors' neighbors and along the frame, not over neighbors alone.

Deviations: an image without contrast has no salient pixel instead of a division by zero, and none of the constants
is adapted to the image.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu
from skimage.segmentation import slic

from tag2mask.configs.schema import Prior
from tag2mask.tasks.dataset.images import resize

CERTAIN = 1000.0
"""Weight of what is background for certain; the probability of background is at most 1."""


@dataclass(frozen=True)
class Regions:
    """Superpixels of one image."""

    colors: np.ndarray
    """(R, 3) float64 mean CIELAB."""
    places: np.ndarray
    """(R, 2) float64 mean (row, column) in shares of height and width."""
    neighbors: np.ndarray
    """(E, 2) pairs of superpixels that touch, each pair once, the lower number first."""
    frame: np.ndarray
    """(R,) bool, whether it touches the frame of the image."""

    def __len__(self) -> int:
        return len(self.frame)


def background_prior(image: np.ndarray, config: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Saliency and probability of background of one image.

    Args:
        image: (H, W, 3) uint8 RGB.
        config: size, superpixels and constants.

    Returns:
        Two (H, W) uint8 maps, 255 = certain.  Unless nothing is salient the largest saliency is 255
        before it is enlarged to the image's size, and about that afterwards.
    """
    height, width = image.shape[:2]
    factor = min(1.0, config.image_size / max(height, width))
    small = resize(image, (max(1, round(height * factor)), max(1, round(width * factor))))
    labels = segment(small, config.superpixels, config.compactness)
    saliency, background = region_saliency(describe(small, labels), config)
    levels = (np.stack([saliency, background]) * 255).round().astype(np.uint8)
    return resize(levels[0][labels], (height, width)), resize(levels[1][labels], (height, width))


def segment(image: np.ndarray, superpixels: int, compactness: float) -> np.ndarray:
    """(H, W) superpixels 0 .. R - 1 of an (H, W, 3) uint8 image, each in one piece (SLIC)."""
    wanted = min(superpixels, image.shape[0] * image.shape[1])
    labels: np.ndarray = slic(image, n_segments=wanted, compactness=compactness, start_label=0, channel_axis=-1)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def describe(image: np.ndarray, labels: np.ndarray) -> Regions:
    """Mean colors and places, neighbors and frame of the superpixels (H, W) of an (H, W, 3) uint8 image."""
    height, width = labels.shape
    flat = labels.ravel()
    area = np.bincount(flat)
    rows, columns = np.indices(labels.shape)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(flat, values.ravel()) / area

    colors = np.stack([mean(channel) for channel in np.moveaxis(rgb2lab(image), -1, 0)], axis=1)
    places = np.stack([mean((rows + 0.5) / height), mean((columns + 0.5) / width)], axis=1)
    touching = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()], axis=1) for one, other in touching])
    neighbors = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    frame = np.zeros(len(area), bool)
    frame[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    return Regions(colors, places, neighbors, frame)


def region_saliency(regions: Regions, config: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Saliency and probability of background of each superpixel, (R,) and (R,) in [0, 1] (section 4)."""
    color = _distances(regions.colors)
    connectivity = boundary_connectivity(regions, color, config)
    background = 1 - _likeness(connectivity, config.boundary_scale)  # eq. 5
    if color.max() < config.least_contrast:
        return np.zeros(len(regions)), background
    near = _likeness(_distances(regions.places), config.place_scale)
    contrast = _upper_class(_to_unit_range((color * near) @ background))  # eq. 6
    weight = config.background_weight * np.where(connectivity > config.certain_connectivity, CERTAIN, background)
    return _to_unit_range(_optimum(_ties(regions, color, config), weight, contrast)), background


def boundary_connectivity(regions: Regions, color: np.ndarray, config: Prior) -> np.ndarray:
    """How much of what looks like a superpixel lies at the frame, over the square root of its size, (R,) (eq. 2-4).

    Args:
        regions: the superpixels.
        color: (R, R) distances of color between any two.
        config: constants.
    """
    likeness = _likeness(_path_lengths(regions, color), config.color_scale)
    connectivity: np.ndarray = likeness[:, regions.frame].sum(1) / np.sqrt(likeness.sum(1))
    return connectivity


def _path_lengths(regions: Regions, color: np.ndarray) -> np.ndarray:
    """(R, R) least sum of unusual color differences on a way from one superpixel to another.

    Usual is the mean over superpixels of the least difference to a neighbor or a neighbor's neighbor.
    """
    linked = _adjacent(regions)
    around = np.where(_twice(linked), color, np.inf).min(1, initial=np.inf)
    usual = around[np.isfinite(around)].mean() if np.isfinite(around).any() else 0.0
    rows, columns = np.nonzero(_with_frame(linked, regions.frame))
    steps = np.maximum(color[rows, columns] - usual, 0)
    graph = csr_array((steps, (rows, columns)), shape=color.shape)  # a step of length 0 stays a step
    lengths: np.ndarray = dijkstra(graph)
    return lengths


def _ties(regions: Regions, color: np.ndarray, config: Prior) -> np.ndarray:
    """(R, R) how strongly two superpixels are to be equally salient (eq. 10); 0 where they are not linked."""
    linked = _adjacent(regions)
    wide = _with_frame(_twice(linked), regions.frame)
    return np.where(wide, _likeness(color, config.color_scale), 0) + config.smoothness * linked


def _optimum(ties: np.ndarray, background: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """The s (R,) of least sum background s^2 + contrast (s - 1)^2 + ties (s_i - s_j)^2 (eq. 9), each pair once."""
    system = np.diag(background + contrast + ties.sum(1)) - ties
    optimum: np.ndarray = np.linalg.solve(system, contrast)
    return optimum


def _adjacent(regions: Regions) -> np.ndarray:
    """(R, R) bool, whether two superpixels touch."""
    linked = np.zeros((len(regions), len(regions)), bool)
    first, second = regions.neighbors.T
    linked[first, second] = linked[second, first] = True
    return linked


def _twice(linked: np.ndarray) -> np.ndarray:
    """(R, R) bool, whether two different superpixels are linked, or linked to a common third one."""
    counts = linked.astype(np.float32)
    wide: np.ndarray = linked | (counts @ counts > 0)
    np.fill_diagonal(wide, False)
    return wide


def _with_frame(linked: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(R, R) bool, with any two superpixels at the frame linked: what stands before a background may cut it in two."""
    wide: np.ndarray = linked | np.outer(frame, frame)
    np.fill_diagonal(wide, False)
    return wide


def _distances(points: np.ndarray) -> np.ndarray:
    """(R, R) Euclidean distances between points (R, D)."""
    distances: np.ndarray = np.linalg.norm(points[:, None] - points, axis=2)
    return distances


def _likeness(distance: np.ndarray, scale: float) -> np.ndarray:
    """1 at distance 0, falling as a Gaussian with that standard deviation."""
    likeness: np.ndarray = np.exp(-(distance**2) / (2 * scale**2))
    return likeness


def _to_unit_range(values: np.ndarray) -> np.ndarray:
    """Stretch values so that the least is 0 and the largest 1; equal ones become 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _upper_class(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] with those of the lower of two classes (Otsu) set to 0."""
    threshold: float = threshold_otsu(values) if np.ptp(values) > 0 else 0.0  # type: ignore[no-untyped-call]
    return np.where(values > threshold, values, 0.0)
