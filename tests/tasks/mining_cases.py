"""Random and written maps for the tests of the mining rule."""

from typing import Any

import numpy as np

from tag2mask.configs.schema import Mining
from tag2mask.tasks.algorithms import object_mining
from tests.benchmarks.plain_labels import CLASSES

SETTINGS: dict[str, Any] = {
    "foreground": 0.3,
    "conflict": 0.9,
    "saliency_threshold": 32,
    "attention_threshold": 0.8,
    "cam_background": 0.3,
    "minimum_foreground": 0.01,
}


def random_levels(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: noise over all levels or some, coarse levels (ties), two values, a constant, zero, or one peak."""
    kind, noise = rng.integers(8), rng.integers(0, 256, size)
    peak = np.zeros(size, int)
    peak.flat[rng.integers(peak.size)] = noise.flat[0]
    low, high = np.sort(rng.integers(0, 256, 2))
    within = low + noise * (high - low) // 255
    coarse = np.round(noise / 51) * 51
    kinds = (noise, within, within, coarse, np.where(noise > 127, 255, 0), np.full(size, noise.flat[0]), peak, 0 * peak)
    return kinds[kind].astype(np.uint8)


def random_case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    size = (int(rng.integers(1, 13)), int(rng.integers(1, 13)))
    count = int(rng.integers(0, 5))
    classes = rng.permutation(np.arange(1, CLASSES + 1))[:count].astype(np.uint8)
    attention = np.array([random_levels(rng, size) for _ in range(count)], np.uint8).reshape(count, *size)
    cams = np.array([random_levels(rng, size) for _ in range(count)], np.uint8).reshape(count, *size)
    saliency = random_levels(rng, size)
    if count and rng.random() < 0.3:  # background evidence that ties with the attention
        saliency = 255 - attention[0]
    return saliency, attention, cams, classes


def mine_labels(*arrays: np.ndarray, **settings: Any) -> np.ndarray:
    """Labels with some of the published thresholds, or arrays by name, changed."""
    own = {name: settings.pop(name) for name in list(settings) if isinstance(settings[name], np.ndarray)}
    names = {"saliency_threshold": "saliency", "attention_threshold": "attention"}
    config = Mining.model_validate({names.get(name, name): value for name, value in settings.items()})
    return object_mining.mine_labels(*arrays, config=config, **own)


def maps(*rows: list[float]) -> np.ndarray:
    """K maps of one row each, (K, 1, W) uint8, from scores in [0, 1]."""
    return np.rint(np.array(rows) * 255).astype(np.uint8).reshape(len(rows), 1, -1)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


def mined(saliency: list[int], attention: np.ndarray, cams: np.ndarray, classes: np.ndarray, **other: Any) -> list[int]:
    """Labels of a one-row image, without the rule about small foreground."""
    row = np.array([saliency], np.uint8)
    labels: list[int] = mine_labels(row, attention, cams, classes, **{"minimum_foreground": 0.0, **other})[0].tolist()
    return labels
