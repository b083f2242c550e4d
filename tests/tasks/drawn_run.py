"""Draws the artifacts of a small run by hand, as the stages would write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tag2mask.configs.schema import Evaluation
from tag2mask.tasks import evaluate
from tag2mask.tasks.dataset.label_maps import write_gray, write_labels
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime

Labels = dict[str, np.ndarray]


def strips(side: int, *values: int) -> np.ndarray:
    """(side, side) labels, each value in a strip of its own, ten pixels wide, that background surrounds."""
    mask = np.zeros((side, side), np.uint8)
    for number, value in enumerate(values):
        mask[4:-4, 2 + 12 * number : 12 + 12 * number] = value
    return mask


def write_dataset(folder: Path, classes: tuple[str, ...], masks: Labels, val: tuple[str, ...] = ()) -> Path:
    """An `index_dataset` artifact whose images are flat colors by class; tags are the classes in the masks."""
    write_json(folder / "classes.json", list(classes))
    rows = []
    for image_id, mask in masks.items():
        tags = [classes[n - 1] for n in np.unique(mask) if 0 < n < 255]
        split = "val" if image_id in val else "train"
        row = {"image_id": image_id, "file": f"images/{image_id}.png", "split": split}
        rows.append(row | {"width": mask.shape[1], "height": mask.shape[0], "labels": " ".join(tags)})
        (folder / "images").mkdir(parents=True, exist_ok=True)
        pixels = np.stack([90 + 20 * (mask % 8), 120 + mask // 2, 200 - 20 * (mask % 8)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{image_id}.png")
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    write_manifest(folder, "index_dataset")
    return folder


def write_masks(folder: Path, masks: Labels, val: tuple[str, ...] = ()) -> Path:
    """An `index_masks` artifact."""
    for image_id, mask in masks.items():
        write_labels(folder / "masks" / f"{image_id}.png", mask)
    train = [image_id for image_id in masks if image_id not in val]
    write_json(folder / "index.json", {"train": train, "val": list(val)})
    write_manifest(folder, "index_masks")
    return folder


def write_label_maps(folder: Path, stage: str, labels: Labels) -> Path:
    """An artifact of labels (`<id>.png`), or of `predict_masks` (`labels/<id>.png`)."""
    for image_id, pixels in labels.items():
        write_labels(folder / ("labels" if stage == "predict_masks" else ".") / f"{image_id}.png", pixels)
    write_manifest(folder, stage)
    return folder


def write_class_maps(folder: Path, stage: str, maps: dict[str, tuple[np.ndarray, list[int]]]) -> Path:
    """An artifact of class maps: id -> ((K, h, w) uint8, class numbers)."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, (pixels, numbers) in maps.items():
        np.savez(folder / f"{image_id}.npz", maps=pixels, numbers=np.array(numbers, np.uint8))
    write_manifest(folder, stage)
    return folder


def write_saliency(folder: Path, maps: Labels) -> Path:
    """A `predict_saliency` artifact."""
    for image_id, pixels in maps.items():
        write_gray(folder / "saliency" / f"{image_id}.png", pixels)
        write_gray(folder / "background" / f"{image_id}.png", 255 - pixels)
    write_manifest(folder, "predict_saliency")
    return folder


def write_training(folder: Path, stage: str, losses: list[float]) -> Path:
    """The losses of a training artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses}).to_csv(folder / "losses.csv", index=False)
    write_manifest(folder, stage, seed=7)
    return folder


def write_manifest(folder: Path, stage: str, **config: int) -> None:
    """A manifest with what a report reads of it."""
    recipe = {"stage": stage, "version": 1, "config": config, "inputs": {}}
    facts = {"key": f"{stage}-key", "seconds": 61.0, "versions": {"python": "3.11"}, "metrics": {"loss": 0.25}}
    write_json(folder / "manifest.json", {"recipe": recipe, **facts})


def evaluated(
    folder: Path,
    dataset: Path,
    masks: Path,
    subject: Path,
    kind: str,
    split: str = "train",
    title: str = "a step",
    labels: Path | None = None,
) -> Path:
    """A real `evaluate` artifact, with a manifest."""
    given: dict[str, Any] = {"kind": kind, "split": split, "title": title, "dataset": dataset, "masks": masks}
    evaluate.run(Evaluation(), folder, StageRuntime(workers=2), subject=subject, labels=labels, **given)
    write_manifest(folder, "evaluate")
    return folder


def blocks(seed: int, count: int, classes: int, size: tuple[int, int] = (24, 32)) -> Labels:
    """Masks with one or two rectangles of different classes each and a rim of void around the first."""
    rng = np.random.default_rng(seed)
    masks = {}
    for number in range(count):
        mask = np.zeros(size, np.uint8)
        for chosen in rng.permutation(classes)[: 1 + number % 2]:
            top, left = int(rng.integers(2, size[0] // 2)), int(rng.integers(2, size[1] // 2))
            mask[top - 1 : top + 9, left - 1 : left + 11] = 255
            mask[top : top + 8, left : left + 10] = chosen + 1
        masks[f"p{number:02d}"] = mask
    return masks


def maps_of(mask: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Class maps that are certain exactly where the mask has the class."""
    numbers = [int(n) for n in np.unique(mask) if 0 < n < 255]
    return np.array([(mask == n) * np.uint8(255) for n in numbers]).reshape(-1, *mask.shape), numbers
