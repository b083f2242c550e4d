"""Mining and masking as the public code of NSROM does them: one image, all classes, a file per class, one process.

Written from the specification of its stages E and I, to time ours against and as a slow oracle.  The types are those of
the published arrays: saliency and the planes that compete in float32, scaled attention and CAM in float64.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

CLASSES = 20


def mine_file(name: str, classes: Iterable[int], saliency: Path, attention: Path, cams: Path, out: Path) -> None:
    """Write <out>/<name>.png from <name>.png of saliency and <name>_<class>.png of both kinds of maps, image-sized."""
    numbers = list(classes)
    labels = mine(
        _read(saliency / f"{name}.png"),
        {number: _read(attention / f"{name}_{number}.png") for number in numbers},
        {number: _read(cams / f"{name}_{number}.png") for number in numbers},
    )
    write_palette_png(out / f"{name}.png", labels)


def mask_file(name: str, tag_count: int, predictions: Path, labels: Path, saliency: Path, out: Path) -> None:
    """Write <out>/<name>.png from <name>.png of the refined prediction, the labels of before, and saliency."""
    masked = mask(*(_read(folder / f"{name}.png") for folder in (predictions, labels, saliency)), tag_count)
    write_palette_png(out / f"{name}.png", masked)


def mine(
    saliency: np.ndarray,
    attention: Mapping[int, np.ndarray],
    cams: Mapping[int, np.ndarray],
    *,
    foreground: float = 0.3,
    conflict: float = 0.9,
    saliency_threshold: int = 32,
    attention_threshold: float = 0.8,
    cam_background: float = 0.3,
    minimum_foreground: float = 0.01,
) -> np.ndarray:
    """Labels (H, W) uint8 by the rule word for word.

    Args:
        saliency: (H, W) uint8.
        attention: class number 1..20 -> (H, W) uint8.
        cams: likewise.
        foreground: and the following, see `mine_labels`.
        conflict: see there.
        saliency_threshold: see there.
        attention_threshold: see there.
        cam_background: see there.
        minimum_foreground: see there.
    """
    planes = np.zeros((CLASSES + 1, *saliency.shape), np.float32)
    salient = saliency.astype(np.float32)
    planes[0] = 1 - salient / 255
    for number, levels in attention.items():
        scaled = scale(levels)
        planes[number] = scaled
        salient = np.maximum(salient, (scaled > attention_threshold) * 255)
    planes[planes < foreground] = 0
    conflicts = np.sum(planes > conflict, axis=0) > 1
    labels = np.argmax(planes, axis=0)
    labels[conflicts] = 255
    labels[(labels == 0) & (salient >= saliency_threshold)] = 255
    added = np.zeros((CLASSES + 1, *saliency.shape), np.float32)
    for number, levels in cams.items():
        scaled = scale(levels)
        added[number] = scaled > threshold(scaled, scaled[labels == number], cam_background)
    labels[(labels == 0) & (added.sum(axis=0) > 0)] = 255
    return drop_small(labels, minimum_foreground)


def scale(levels: np.ndarray) -> np.ndarray:
    """A map (H, W) uint8 by its own range, float64."""
    scaled: np.ndarray = (levels - levels.min()) / (levels.max() - levels.min() + 1e-8)
    return scaled


def threshold(scaled: np.ndarray, own: np.ndarray, cam_background: float) -> float:
    """The mining threshold of a class: NaN, which nothing exceeds, where no value lies above the median."""
    if np.sum(own) != 0:
        return float(np.median(own))
    evidence = scaled[scaled > cam_background]
    if not evidence.size:
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.median(evidence[evidence > np.median(evidence)]))


def mask(
    prediction: np.ndarray,
    labels: np.ndarray,
    saliency: np.ndarray,
    tag_count: int,
    *,
    saliency_threshold: int = 0,
    dilation: int = 30,
    minimum_foreground: float = 0.01,
) -> np.ndarray:
    """Labels (H, W) uint8 of the next round by the rule word for word; arguments as `mask_nonsalient`."""
    masked, before, salient = prediction.astype(np.int32), labels.astype(np.int32), saliency.astype(np.float32)
    if tag_count >= 2:
        masked = np.where((before > 0) & (before < 255) & (masked == 0), before, masked)
        kept = np.where((masked != 0) | (salient > saliency_threshold), 1.0, 0.0)
        # OpenCV's dilate of float64 with a square of 30 of ones: p covers p-14 .. p+15
        kept = ndimage.maximum_filter(kept, size=dilation, mode="constant", cval=0)
        masked[kept == 0] = 255
    return drop_small(masked, minimum_foreground)


def drop_small(labels: np.ndarray, minimum: float) -> np.ndarray:
    """The labels as uint8, 255 throughout where less than `minimum` of them is foreground."""
    valid = np.array((labels > 0) & (labels < 255), dtype=int).sum()
    if float(valid) / float(labels.size) < minimum:
        labels[...] = 255
    return labels.astype(np.uint8)


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def write_palette_png(path: Path, labels: np.ndarray) -> None:
    """Write (H, W) uint8 labels with a palette, as Pillow compresses by default."""
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette([value for number in range(CLASSES + 2) for value in (number, number, number)])
    image.save(path)
