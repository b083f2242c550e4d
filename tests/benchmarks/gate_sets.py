"""Label sets on voc-mini, good ones and bad ones, made from the artifacts of a finished run."""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tag2mask.configs.schema import Config, Mining, Refinement
from tag2mask.flows.dag.record import latest
from tag2mask.tasks import (
    infer_attention,
    infer_cams,
    mask_nonsalient,
    mine_objects,
    predict_masks,
    refine_masks,
    train_segmenter,
)
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks.filled import filled

STORE = Path(os.environ.get("TAG2MASK_VOC_STORE", "artifacts"))
WORK = Path(os.environ.get("TAG2MASK_BENCHMARK", "artifacts/.benchmark")) / "gate"
RUNTIME = StageRuntime()
MASKS = "the masks themselves"
"""Not a set that a run could make: what the best one would look like to the gate."""
MINING: dict[str, dict[str, float]] = {
    "mined": {},
    "mined, foreground 0.1": {"foreground": 0.1},
    "mined, foreground 0.2": {"foreground": 0.2},
    "mined, foreground 0.5": {"foreground": 0.5},
    "mined, foreground 0.7": {"foreground": 0.7},
    "mined, foreground 0.9": {"foreground": 0.9},
    "mined, saliency 8": {"saliency": 8},
    "mined, saliency 128": {"saliency": 128},
    "mined, conflict 0.5": {"conflict": 0.5},
    "mined, minimum_foreground 0.05": {"minimum_foreground": 0.05},
    "mined, minimum_foreground 0.2": {"minimum_foreground": 0.2},
    "mined, attention 0.3": {"attention": 0.3},
    "mined, hardly any ignored": {"attention": 1, "saliency": 255, "cam_background": 1, "conflict": 1},
}
"""Settings of the mining beside those of the configuration."""


@dataclass(frozen=True)
class Evidence:
    """Artifact folders that a label set is made from and held against."""

    dataset: Path
    masks: Path
    saliency: Path
    cams: Path
    attention: Path
    predictions: Path
    model: Path
    labels: Path
    """What the run made: its labels of round 1."""


def evidence_of_run(config: Config) -> Evidence:
    """The folders of the newest run that is on record."""
    record = latest(STORE, config.name)
    if record is None:
        pytest.skip(f"{STORE} holds no run of {config.name}; TAG2MASK_VOC_STORE names a store that does")
    nodes = {
        "dataset": "index_dataset",
        "masks": "index_masks",
        "saliency": "predict_saliency",
        "cams": "infer_cams",
        "attention": "infer_attention",
        "predictions": "refine_masks-1",
        "model": "train_segmenter-1",
        "labels": "mask_nonsalient-1",
    }
    found = {name: record.nodes.get(node, {}).get("artifact") for name, node in nodes.items()}
    gone = [nodes[name] for name, artifact in found.items() if not artifact or not (STORE / artifact).is_dir()]
    if gone:
        pytest.skip(f"the newest run of {config.name} in {STORE} lacks {', '.join(gone)}: let it finish")
    return Evidence(**{name: STORE / str(artifact) for name, artifact in found.items()})


def made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once; it appears whole."""
    return filled(WORK / name, make)


def mined(settings: Mining, given: Evidence) -> Callable[[Path], None]:
    """Mining with these settings."""
    return lambda out: mine_objects.run(
        settings,
        out,
        RUNTIME,
        dataset=given.dataset,
        saliency=given.saliency,
        attention=given.attention,
        cams=given.cams,
    )


def masked(config: Config, given: Evidence, **changes: int) -> Callable[[Path], None]:
    """Masking of the predictions, as at the end of a round."""
    return lambda out: mask_nonsalient.run(
        config.masking.replaced(**changes),
        out,
        RUNTIME,
        dataset=given.dataset,
        predictions=given.predictions,
        labels=given.labels,
        saliency=given.saliency,
    )


def shuffled(config: Config, given: Evidence, share: float) -> Evidence:
    """Tags permuted among a share of the training images; the run's networks are asked for these tags."""
    name = f"shuffled_{share:g}"
    dataset = made(f"{name}/dataset", lambda out: permute_tags(given.dataset, share, out))
    quick: dict[str, Any] = {"scales": (1.0,), "flip": False}
    classifier, attention = (model_of(given, stage) for stage in (given.cams, given.attention))
    cams = made(
        f"{name}/cams",
        lambda out: infer_cams.run(config.cams.replaced(**quick), out, RUNTIME, dataset=dataset, model=classifier),
    )
    oa_cams = made(
        f"{name}/attention",
        lambda out: infer_attention.run(
            config.attention_maps.replaced(**quick), out, RUNTIME, dataset=dataset, model=attention
        ),
    )
    wrong = replace(given, dataset=dataset, cams=cams, attention=oa_cams)
    return predicted(name, config, replace(wrong, labels=made(f"{name}/mined", mined(config.mining, wrong))))


def model_of(given: Evidence, maps: Path) -> Path:
    """The model that made class maps, by their manifest."""
    return given.masks.parents[1] / str(read_json(maps / "manifest.json")["input_paths"]["model"])


def permute_tags(dataset: Path, share: float, out: Path) -> None:
    """An index with the tags of a share of the training images in another order; the images are linked to."""
    with (dataset / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    train = [row for row in rows if row["split"] == "train"]
    chosen = np.random.default_rng(0).permutation(len(train))[: round(share * len(train))]
    tags = [train[number]["labels"] for number in chosen]
    for number, other in zip(chosen, (*tags[1:], tags[0]), strict=True):
        train[number]["labels"] = other
    write_table(out / "index.csv", rows)
    shutil.copy(dataset / "classes.json", out / "classes.json")
    (out / "images").symlink_to((dataset / "images").resolve())


def predicted(name: str, config: Config, given: Evidence) -> Evidence:
    """Predictions of a model without mirroring and without the CRF, which save minutes and change little."""
    settings, arguments = config.prediction.replaced(flip=False), {"dataset": given.dataset, "model": given.model}
    scores = made(
        f"{name}/scores",
        lambda out: predict_masks.run(settings, out, RUNTIME, split="train", **arguments),
    )
    off = Refinement(iterations=0)
    refined = made(
        f"{name}/refined", lambda out: refine_masks.run(off, out, RUNTIME, dataset=given.dataset, scores=scores)
    )
    return replace(given, predictions=refined)


def trained_for(steps: int, config: Config, given: Evidence, labels: Path) -> Evidence:
    """Predictions of a segmenter that was trained for a few steps."""
    weights = config.segmenter.backbone.weights_file
    settings = config.segmenter.replaced(iterations=steps)
    model = made(
        f"steps_{steps}/model",
        lambda out: train_segmenter.run(settings, out, RUNTIME, dataset=given.dataset, labels=labels, weights=weights),
    )
    return predicted(f"steps_{steps}", config, replace(given, model=model, labels=labels))


def painted(given: Evidence, paint: Callable[[str, tuple[int, int]], np.ndarray]) -> Callable[[Path], None]:
    """Labels by a rule: (id, (height, width)) -> (H, W) uint8."""

    def make(out: Path) -> None:
        for record in ImageIndex.read(given.dataset).split("train"):
            write_labels(out / f"{record.image_id}.png", paint(record.image_id, record.size))

    return make


def of_another(given: Evidence) -> Callable[[Path], None]:
    """The labels of the next image, stretched: what a set looks like whose ids have shifted."""
    ids = ImageIndex.read(given.dataset).split("train").ids
    following = dict(zip(ids, (*ids[1:], ids[0]), strict=True))

    def paint(image_id: str, size: tuple[int, int]) -> np.ndarray:
        with Image.open(given.labels / f"{following[image_id]}.png") as image:
            return np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST)).astype(np.uint8)

    return painted(given, paint)


def mixed(given: Evidence, other: Path, share: float) -> Callable[[Path], None]:
    """The run's labels, a share of the images with those of another set."""
    ids = ImageIndex.read(given.dataset).split("train").ids
    old = set(np.random.default_rng(0).permutation(ids)[: round(share * len(ids))].tolist())
    return painted(
        given, lambda image_id, _: read_labels((other if image_id in old else given.labels) / f"{image_id}.png")
    )


def by_cam(given: Evidence) -> Callable[[Path], None]:
    """The strongest CAM above 0.3, and nothing else: agrees with the CAM because it is the CAM."""

    def paint(image_id: str, size: tuple[int, int]) -> np.ndarray:
        maps, numbers = read_class_maps(given.cams / f"{image_id}.npz", size)
        labels = np.concatenate([[0], numbers]).astype(np.uint8)
        chosen = labels[np.concatenate([np.full((1, *size), 0.3, np.float32), maps]).argmax(0)]
        return np.asarray(chosen)

    return painted(given, paint)


def label_sets(config: Config, given: Evidence) -> dict[str, tuple[Path, Evidence]]:
    """Name -> the labels, and what the gate holds them against."""
    sets: dict[str, tuple[Path, Evidence]] = {}
    for number, (name, changes) in enumerate(MINING.items()):
        folder = made(f"mined_{number}", mined(config.mining.replaced(**changes), given))
        sets[name] = (folder, given)
    start = sets["mined"][0]
    before = replace(given, labels=start)
    sets["labels of round 1"] = (given.labels, given)
    narrow = masked(config, before, dilation=5, saliency=128)
    sets["round 1, dilation 5, saliency 128"] = (made("masked_narrow", narrow), given)
    sets["round 1, nothing ignored"] = (given.predictions, given)
    sets[MASKS] = (given.masks / "masks", given)
    sets["CAM above 0.3"] = (made("by_cam", by_cam(given)), given)
    for share, reported in ((1.0, "shuffled tags"), (0.5, "half the tags shuffled")):
        wrong = shuffled(config, given, share)
        sets[f"{reported}, mined"] = (wrong.labels, wrong)
        sets[f"{reported}, round 1"] = (made(f"shuffled_{share:g}/masked", masked(config, wrong)), wrong)
    untrained = trained_for(1, config, given, start)
    sets["untrained segmenter"] = (made("steps_1/masked", masked(config, untrained)), untrained)
    nothing = painted(given, lambda _, size: np.zeros(size, np.uint8))
    sets["all background"] = (made("background", nothing), given)
    sets["labels of the next image"] = (made("shifted", of_another(given)), given)
    old = sets["mined, foreground 0.7"][0]
    sets["40 % from foreground 0.7"] = (made("mixed_old", mixed(given, old, 0.4)), given)
    empty = sets["untrained segmenter"][0]
    sets["40 % from the untrained segmenter"] = (made("mixed_untrained", mixed(given, empty, 0.4)), given)
    return sets
