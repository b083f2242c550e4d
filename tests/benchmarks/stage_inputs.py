"""Inputs of the stages that have a published counterpart, in both forms: as our stages keep them, and a file per class.

Images are drawn scenes, or those of a folder.  Where objects are is drawn as well: soft random blobs, from which class
maps, saliency, scores and labels follow with some noise.  No network is asked, and no mask is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tag2mask.tasks.dataset.arrays import write_scores
from tag2mask.tasks.dataset.class_maps import read_class_levels, write_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import find_images, read_rgb
from tag2mask.tasks.dataset.label_maps import IGNORE, write_gray, write_labels
from tag2mask.tasks.demo.canvas import smooth_noise
from tag2mask.tasks.demo.scenes import draw_scene
from tag2mask.tasks.store.files import write_json

CLASSES = 20
SIZES = ((375, 500), (333, 500), (500, 375))
"""The commonest (height, width) of PASCAL VOC, in pixels."""
TAG_COUNTS = {20: (1, 1, 2, 1, 1, 2, 1, 3, 1, 2, 1), 80: (3, 2, 4)}
"""Classes -> tags of successive images: 64 % have one, 27 % two, 9 % three, as in PASCAL VOC; three, as in COCO."""
CELLS = 20
"""Side of the class maps."""
STRIDE = 8
"""Pixels per cell of the scores."""


@dataclass(frozen=True)
class StageInputs:
    """Where everything lies; `plain` is the counterpart's form."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name

    @property
    def index(self) -> ImageIndex:
        """The images."""
        return ImageIndex.read(self.folder / "dataset")


def make_inputs(
    folder: Path,
    count: int,
    *,
    images: Path | None = None,
    classes: int = CLASSES,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> StageInputs:
    """Write the inputs of `count` images.

    Args:
        folder: for everything.
        count: of images.
        images: take the first ones of this folder; None draws them.
        classes: C, without background.
        sizes: (height, width) of successive drawn images, in pixels.
    """
    rng = np.random.default_rng(0)
    inputs = StageInputs(folder)
    _write_index(inputs, _pictures(rng, count, images, sizes), rng, classes)
    for record in inputs.index:
        shares = _membership(rng, record)
        _write_maps(inputs, rng, record, shares, classes)
        _write_scores(inputs, rng, record, shares, classes)
        _write_labels(inputs, rng, record, shares)
    return inputs


def _pictures(
    rng: np.random.Generator, count: int, images: Path | None, sizes: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """(H, W, 3) uint8 each, drawn or read."""
    if images is not None:
        return [read_rgb(path) for path in list(find_images(images).values())[:count]]
    return [draw_scene(rng, size=sizes[number % len(sizes)]).image for number in range(count)]


def _write_index(inputs: StageInputs, pictures: list[np.ndarray], rng: np.random.Generator, classes: int) -> None:
    names, counts = [f"class{number:02d}" for number in range(1, classes + 1)], TAG_COUNTS[classes]
    rows = []
    for number, pixels in enumerate(pictures):
        file = f"images/image{number:03d}.png"
        (inputs.dataset / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(inputs.dataset / file, compress_level=1)
        tags = rng.permutation(names)[: counts[number % len(counts)]]
        row = {"image_id": Path(file).stem, "file": file, "split": "train"}
        rows.append(row | {"width": pixels.shape[1], "height": pixels.shape[0], "labels": " ".join(tags)})
    pd.DataFrame(rows).to_csv(inputs.dataset / "index.csv", index=False)
    write_json(inputs.dataset / "classes.json", names)


def _membership(rng: np.random.Generator, record: ImageRecord) -> np.ndarray:
    """(K, H, W) float32 in [0, 1]: how much of each pixel belongs to each tag's object, about a tenth of the image."""
    fields = [smooth_noise(rng, record.size, min(record.size) / 7) for _ in record.tags]
    return np.stack([1 / (1 + np.exp(6 * (1.3 - field))) for field in fields]).astype(np.float32)


def _write_maps(
    inputs: StageInputs, rng: np.random.Generator, record: ImageRecord, shares: np.ndarray, classes: int
) -> None:
    """Both kinds of class maps and saliency; the counterpart's class maps are image-sized PNGs."""
    name = f"{record.image_id}.png"
    for kind, noise in (("attention", 0.1), ("cams", 0.3)):
        evidence = np.zeros((classes, CELLS, CELLS), np.float32)
        for number, share in zip(record.tags, shares, strict=True):
            evidence[number - 1] = _resized(share, (CELLS, CELLS)) + noise * np.abs(rng.normal(size=(CELLS, CELLS)))
        write_class_maps(getattr(inputs, kind) / f"{record.image_id}.npz", evidence, record.tags)
        levels, numbers = read_class_levels(getattr(inputs, kind) / f"{record.image_id}.npz", record.size)
        for number, plane in zip(numbers.tolist(), levels, strict=True):
            _save(inputs.plain / kind / f"{record.image_id}_{number}.png", plane)
    soft = _resized(shares.max(axis=0), (128, 128)) + 0.1 * smooth_noise(rng, (128, 128), 2)
    write_gray(inputs.saliency / "saliency" / name, _bytes(_resized(soft.astype(np.float32), record.size)))


def _write_scores(
    inputs: StageInputs, rng: np.random.Generator, record: ImageRecord, shares: np.ndarray, classes: int
) -> None:
    """Probabilities of the classes present, and of all of them for the counterpart."""
    cells = (-(-record.height // STRIDE), -(-record.width // STRIDE))
    logits = rng.normal(-8, 0.5, (classes + 1, *cells)).astype(np.float32)
    logits[0] = 0
    for number, share in zip(record.tags, shares, strict=True):
        small = _resized(share, cells) + rng.normal(0, 0.05, cells)
        logits[number] = 8 * small - 4
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    probabilities = probabilities.astype(np.float16)
    numbers = np.array([0, *record.tags], np.uint8)
    write_scores(inputs.scores / "scores" / f"{record.image_id}.npz", probabilities[numbers], numbers)
    (inputs.plain / "scores").mkdir(parents=True, exist_ok=True)
    np.save(inputs.plain / "scores" / f"{record.image_id}.npy", probabilities.astype(np.float32))


def _write_labels(inputs: StageInputs, rng: np.random.Generator, record: ImageRecord, shares: np.ndarray) -> None:
    """A refined prediction, and labels of the round before, which ignore the borders."""
    numbers = np.array([0, *record.tags], np.uint8)
    background = np.full((1, *record.size), 0.5, np.float32)
    prediction = numbers[np.concatenate([background, shares]).argmax(axis=0)]
    write_labels(inputs.predictions / f"{record.image_id}.png", prediction)
    unsure = np.abs(shares.max(axis=0) - 0.5) < 0.2 + 0.1 * smooth_noise(rng, record.size, 9)
    labels = np.where(unsure, IGNORE, prediction).astype(np.uint8)
    write_labels(inputs.labels / f"{record.image_id}.png", labels)


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR))


def _bytes(plane: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(plane, 0, 1)).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
