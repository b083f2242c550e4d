"""Robust background detection: planted pictures, an oracle in loops, laws of mirroring and renumbering."""

import itertools
import math

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from tag2mask.configs.schema import Prior
from tag2mask.tasks.algorithms.background_prior import (
    Regions,
    background_prior,
    boundary_connectivity,
    describe,
    region_saliency,
    segment,
)

GROUND = (90, 120, 160)


def ground(size: tuple[int, int] = (90, 120), noise: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 of one color, with noise of up to so many gray levels."""
    image = np.empty((*size, 3), np.uint8)
    image[:] = GROUND
    return image + np.random.default_rng(0).integers(0, noise + 1, image.shape, np.uint8)


def disc(size: tuple[int, int], center: tuple[int, int], radius: int) -> np.ndarray:
    """(H, W) bool."""
    rows, columns = np.indices(size)
    inside: np.ndarray = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 < radius**2
    return inside


class Oracle:
    """Saliency and boundary connectivity of superpixels, pair by pair and relaxation by relaxation."""

    def __init__(self, regions: Regions, config: Prior) -> None:
        self.regions, self.config, self.all = regions, config, range(len(regions))
        self.color = [[math.dist(a, b) for b in regions.colors] for a in regions.colors]
        self.touching: list[set[int]] = [set() for _ in self.all]
        for one, other in regions.neighbors.tolist():
            self.touching[one].add(other)
            self.touching[other].add(one)
        self.wide = [set.union(self.touching[i], *(self.touching[j] for j in self.touching[i])) - {i} for i in self.all]
        self.connectivity = self.connect(self.lengths())
        self.background = [1 - likeness(c, config.boundary_scale) for c in self.connectivity]

    def at_frame(self, i: int, j: int) -> bool:
        return bool(i != j and self.regions.frame[i] and self.regions.frame[j])

    def lengths(self) -> np.ndarray:
        usual = sum(min(self.color[i][j] for j in self.wide[i]) for i in self.all) / len(self.regions)
        length = np.full((len(self.regions), len(self.regions)), math.inf)
        for i, j in itertools.product(self.all, self.all):
            if i == j:
                length[i, j] = 0
            elif j in self.touching[i] or self.at_frame(i, j):
                length[i, j] = max(self.color[i][j] - usual, 0)
        for k, i, j in itertools.product(self.all, self.all, self.all):
            length[i, j] = min(length[i, j], length[i, k] + length[k, j])
        return length

    def connect(self, length: np.ndarray) -> list[float]:
        connectivity = []
        for i in self.all:
            alike = [likeness(length[i, j], self.config.color_scale) for j in self.all]
            connectivity.append(
                sum(a for a, at in zip(alike, self.regions.frame, strict=True) if at) / sum(alike) ** 0.5
            )
        return connectivity

    def contrast(self) -> np.ndarray:
        contrast = np.zeros(len(self.regions))
        for i, j in itertools.product(self.all, self.all):
            apart = math.dist(self.regions.places[i], self.regions.places[j])
            contrast[i] += self.color[i][j] * likeness(apart, self.config.place_scale) * self.background[j]
        contrast = (contrast - contrast.min()) / (contrast.max() - contrast.min())
        contrast[contrast <= threshold_otsu(contrast)] = 0
        return contrast

    def saliency(self) -> np.ndarray:
        contrast, system = self.contrast(), np.zeros((len(self.regions), len(self.regions)))
        for i in self.all:
            certain = self.connectivity[i] > self.config.certain_connectivity
            weight = self.config.background_weight * (1000 if certain else self.background[i])
            system[i, i] += contrast[i] + weight
        for i, j in itertools.product(self.all, self.all):
            tie = self.config.smoothness if j in self.touching[i] else 0.0
            if j in self.wide[i] or self.at_frame(i, j):
                tie += likeness(self.color[i][j], self.config.color_scale)
            system[i, i] += tie
            system[i, j] -= tie
        optimum = np.linalg.solve(system, contrast)
        scores: np.ndarray = (optimum - optimum.min()) / (optimum.max() - optimum.min())
        return scores


def likeness(distance: float, scale: float) -> float:
    return math.exp(-(distance**2) / (2 * scale**2))


@pytest.mark.parametrize("seed", range(3))
def test_superpixels_score_as_in_the_loops(seed: int) -> None:
    """Saliency, connectivity and background of superpixels of a random picture equal those of the slow oracle."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (6, 7, 3), np.uint8)
    labels = segment(np.kron(image, np.ones((6, 6, 1), np.uint8)), 30, 20.0)
    regions = describe(np.kron(image, np.ones((6, 6, 1), np.uint8)), labels)
    config = Prior(boundary_scale=2.0, certain_connectivity=3.2 if seed else 2.0)
    oracle = Oracle(regions, config)
    connectivity = np.array(oracle.connectivity)
    color = np.linalg.norm(regions.colors[:, None] - regions.colors, axis=2)
    np.testing.assert_allclose(boundary_connectivity(regions, color, config), connectivity, atol=1e-10)
    found, background = region_saliency(regions, config)
    np.testing.assert_allclose(found, oracle.saliency(), atol=1e-9)
    np.testing.assert_allclose(background, 1 - np.exp(-(connectivity**2) / 8), atol=1e-10)


def test_regions_are_described_pixel_by_pixel() -> None:
    """Places, neighbors and the frame of drawn superpixels are those counted by hand."""
    labels = np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]])
    image = np.zeros((3, 4, 3), np.uint8)
    image[1, 1] = 255
    regions = describe(image, labels)
    np.testing.assert_allclose(regions.places, [[0.5, 0.5], [0.5, 0.375], [0.5, 0.625]])
    assert regions.neighbors.tolist() == [[0, 1], [0, 2], [1, 2]] and regions.frame.tolist() == [True, False, False]
    np.testing.assert_allclose(regions.colors, [[0, 0, 0], [100, 0, 0], [0, 0, 0]], atol=0.01)


@pytest.mark.parametrize("noise", [0, 6])
def test_a_disc_on_a_plain_ground_is_salient(noise: int) -> None:
    """A bright disc inside of the frame is found to the pixel but for its rim, and the ground is background."""
    image, inside = ground(noise=noise), disc((90, 120), (40, 70), 20)
    image[inside] = (240, 200, 40)
    saliency, background = background_prior(image, Prior())
    assert saliency.shape == background.shape == (90, 120) and saliency.dtype == background.dtype == np.uint8
    assert ((saliency > 127) == inside).mean() > 0.99
    assert saliency[disc((90, 120), (40, 70), 17)].min() > 200 and saliency.max() == 255
    assert background[~disc((90, 120), (40, 70), 23)].min() > 200 > 60 > background[40, 70]


def test_what_the_frame_cuts_is_background() -> None:
    """A band along the frame is not salient, however bright, and a disc beside it is."""
    image, inside = ground(), disc((90, 120), (45, 75), 16)
    image[:, :30] = (250, 240, 60)
    image[inside] = (200, 40, 40)
    saliency, background = background_prior(image, Prior())
    assert saliency[inside].mean() > 200
    assert saliency[:, :27].max() < 30 and background[:, :27].min() > 200


def test_a_ground_cut_in_two_stays_background() -> None:
    """An object from edge to edge leaves both sides of its ground background, as the frame links them."""
    image = ground()
    image[35:55, 8:112] = (230, 60, 60)
    saliency, background = background_prior(image, Prior())
    assert saliency[38:52, 15:105].mean() > 200 and saliency[:28].max() < 30 and saliency[62:].max() < 30
    assert background[:28].min() > 200 and background[62:].min() > 200


@pytest.mark.parametrize("noise", [0, 2])
def test_a_picture_of_one_color_has_nothing_salient(noise: int) -> None:
    """Without a contrast that one sees the saliency is zero everywhere, and all is background."""
    saliency, background = background_prior(ground(noise=noise), Prior())
    assert not saliency.any() and background.min() > 250


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (5, 3), (400, 3)])
def test_the_smallest_pictures_have_maps(size: tuple[int, int]) -> None:
    """Pictures of a few pixels, or with one long side, give finite maps of their own size."""
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    saliency, background = background_prior(image, Prior())
    assert saliency.shape == background.shape == size


def test_large_pictures_are_worked_on_small() -> None:
    """A picture and its enlargement have the same map at their own sizes."""
    image, inside = ground(), disc((90, 120), (40, 70), 20)
    image[inside] = (240, 200, 40)
    large = np.kron(image, np.ones((4, 4, 1), np.uint8))
    saliency, _ = background_prior(large, Prior(image_size=120))
    assert saliency.shape == (360, 480)
    assert ((saliency[::4, ::4] > 127) == inside).mean() > 0.98


def test_mirroring_mirrors_the_map() -> None:
    """Superpixels and picture mirrored together score the same, and numbering superpixels anew renumbers the scores."""
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 256, (9, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    labels = segment(image, 60, 20.0)
    saliency, background = region_saliency(describe(image, labels), Prior())
    mirrored = region_saliency(describe(image[:, ::-1], labels[:, ::-1]), Prior())
    np.testing.assert_allclose(mirrored, (saliency, background), atol=1e-9)
    order = rng.permutation(len(saliency))
    renumbered = region_saliency(describe(image, order[labels]), Prior())
    np.testing.assert_allclose((renumbered[0][order], renumbered[1][order]), (saliency, background), atol=1e-9)


def test_superpixels_are_numbered_without_gaps() -> None:
    """Every number from 0 on has a pixel, also where fewer pixels are there than superpixels were asked for."""
    for size in ((4, 4), (40, 60)):
        labels = segment(np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8), 250, 20.0)
        assert labels.shape == size
        np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
