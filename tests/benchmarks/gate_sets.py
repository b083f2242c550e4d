"""Label sets on voc-mini, good and bad, made by the project's own stages from the artifacts of a finished run.

What cannot come out of a stage, such as labels whose ids have shifted, is in `gate_damages`.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.configs.runtime import available_cores
from tag2mask.configs.schema import CamRefinement, Config, Mining, Refinement
from tag2mask.flows.dag.record import latest
from tag2mask.tasks import (
    fuse_labels,
    infer_attention,
    infer_cams,
    mask_nonsalient,
    mine_objects,
    predict_masks,
    refine_cams,
    refine_masks,
    train_segmenter,
)
from tag2mask.tasks.dataset.tables import read_table, write_table
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks.filled import filled

STORE = Path(os.environ.get("TAG2MASK_VOC_STORE", "artifacts"))
WORK = Path(os.environ.get("TAG2MASK_BENCHMARK", "artifacts/.benchmark")) / "gate"
RUNTIME = StageRuntime(workers=available_cores())
ROUND_1 = "labels of round 1"
REFINED: dict[str, dict[str, float]] = {
    "labels 0": {},
    "labels 0, background 0.003": {"background": 0.003},
    "labels 0, background 0.1": {"background": 0.1},
    "labels 0, background 0.25": {"background": 0.25},
    "labels 0, background 0.5": {"background": 0.5},
    "labels 0, power 0.5": {"power": 0.5},
    "labels 0, power 8": {"power": 8},
    "labels 0, without saliency": {"saliency_weight": 0},
}
"""Settings of `cam_refinement` beside those of the configuration."""
MINED: dict[str, dict[str, float]] = {
    "mined, foreground 0.1": {"foreground": 0.1},
    "mined, foreground 0.3": {"foreground": 0.3},
    "mined, foreground 0.5": {"foreground": 0.5},
    "mined, foreground 0.7": {"foreground": 0.7},
    "mined, minimum_foreground 0.2": {"minimum_foreground": 0.2},
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
    """The class maps themselves, where the run trained no integral attention model."""
    scores: Path
    predictions: Path
    model: Path
    start: Path
    """What the run made first: its labels 0."""
    labels: Path
    """What the run made of its first round: labels 1."""


@dataclass(frozen=True)
class LabelSet:
    """Labels to measure, and what the gate holds them against."""

    labels: Path
    against: Evidence
    held_out: bool = False
    """Not looked at while thresholds were chosen."""


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
        "attention": "infer_attention" if "infer_attention" in record.nodes else "infer_cams",
        "scores": "predict_masks-1",
        "predictions": "refine_masks-1",
        "model": "train_segmenter-1",
        "start": "refine_cams",
        "labels": "fuse_labels-1",
    }
    found = {name: record.nodes.get(node, {}).get("artifact") for name, node in nodes.items()}
    gone = [nodes[name] for name, artifact in found.items() if not artifact or not (STORE / artifact).is_dir()]
    if gone:
        pytest.skip(f"the newest run of {config.name} in {STORE} lacks {', '.join(gone)}: let it finish")
    return Evidence(**{name: STORE / str(artifact) for name, artifact in found.items()})


def made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once; it appears whole."""
    return filled(WORK / name, make)


def refined(settings: CamRefinement, given: Evidence) -> Callable[[Path], None]:
    """Labels 0 with these settings."""
    maps: dict[str, Path] = {"cams": given.cams} | ({"attention": given.attention} if settings.attention else {})
    return lambda out: refine_cams.run(settings, out, RUNTIME, dataset=given.dataset, saliency=given.saliency, **maps)


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


def fused(config: Config, given: Evidence, **changes: float) -> Callable[[Path], None]:
    """Predictions fused with labels 0, as at the end of a round."""
    settings = config.fusion.replaced(**changes)
    return lambda out: fuse_labels.run(
        settings, out, RUNTIME, dataset=given.dataset, scores=given.scores, labels=given.start
    )


def masked(config: Config, given: Evidence, **changes: int) -> Callable[[Path], None]:
    """Masking of the predictions, the published end of a round."""
    settings = config.masking.replaced(**changes)
    return lambda out: mask_nonsalient.run(
        settings,
        out,
        RUNTIME,
        dataset=given.dataset,
        predictions=given.predictions,
        labels=given.start,
        saliency=given.saliency,
    )


def shuffled(config: Config, given: Evidence, share: float) -> Evidence:
    """Tags permuted among a share of the training images; the run's networks are asked for these tags."""
    name = f"shuffled_{share:g}"
    dataset = made(f"{name}/dataset", lambda out: permute_tags(given.dataset, share, out))
    quick: dict[str, Any] = {"scales": (1.0,), "flip": False}
    cams = made(
        f"{name}/cams",
        lambda out: infer_cams.run(
            config.cams.replaced(**quick), out, RUNTIME, dataset=dataset, model=model_of(given, given.cams)
        ),
    )
    attention = cams
    if given.attention != given.cams:
        attention = made(
            f"{name}/attention",
            lambda out: infer_attention.run(
                config.attention_maps.replaced(**quick),
                out,
                RUNTIME,
                dataset=dataset,
                model=model_of(given, given.attention),
            ),
        )
    wrong = replace(given, dataset=dataset, cams=cams, attention=attention)
    start = made(f"{name}/refined_cams", refined(config.cam_refinement, wrong))
    return predicted(name, config, replace(wrong, start=start))


def model_of(given: Evidence, maps: Path) -> Path:
    """The model that made class maps, by their manifest."""
    return given.masks.parents[1] / str(read_json(maps / "manifest.json")["input_paths"]["model"])


def permute_tags(dataset: Path, share: float, out: Path) -> None:
    """An index with the tags of a share of the training images in another order; the images are linked to."""
    rows = read_table(dataset / "index.csv")
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
    plain = made(
        f"{name}/refined", lambda out: refine_masks.run(off, out, RUNTIME, dataset=given.dataset, scores=scores)
    )
    return replace(given, scores=scores, predictions=plain)


def trained_for(steps: int, config: Config, given: Evidence) -> Evidence:
    """Predictions of a segmenter that was trained for a few steps on labels 0."""
    weights = config.segmenter.backbone.weights_file
    settings = config.segmenter.replaced(iterations=steps)
    model = made(
        f"steps_{steps}/model",
        lambda out: train_segmenter.run(
            settings, out, RUNTIME, dataset=given.dataset, labels=given.start, weights=weights
        ),
    )
    return predicted(f"steps_{steps}", config, replace(given, model=model))


def sets_of_stages(config: Config, given: Evidence) -> dict[str, LabelSet]:
    """Name -> labels as the stages make them by other settings, from wrong tags, or from a training cut short.

    Labels of mining and masking are held out: thresholds are chosen on those of refined class maps and of fusion.
    """
    sets: dict[str, LabelSet] = {}
    for number, (name, changes) in enumerate(REFINED.items()):
        settings = config.cam_refinement.replaced(**changes)
        sets[name] = LabelSet(made(f"refined_cams_{number}", refined(settings, given)), given)
    for number, (name, changes) in enumerate(MINED.items()):
        settings = config.mining.replaced(**changes)
        sets[name] = LabelSet(made(f"mined_{number}", mined(settings, given)), given, held_out=True)
    sets[ROUND_1] = LabelSet(given.labels, given)
    sets["round 1, nothing fused"] = LabelSet(given.predictions, given)
    sets["round 1, masked"] = LabelSet(made("masked", masked(config, given)), given, held_out=True)
    for share, reported in ((1.0, "all tags shuffled"), (0.5, "half the tags shuffled"), (0.2, "a fifth shuffled")):
        wrong = shuffled(config, given, share)
        held_out = share == 0.2
        sets[f"{reported}, labels 0"] = LabelSet(wrong.start, wrong, held_out)
        sets[f"{reported}, round 1"] = LabelSet(
            made(f"shuffled_{share:g}/fused", fused(config, wrong)), wrong, held_out
        )
    for steps in (1, 100):
        early = trained_for(steps, config, given)
        labels = made(f"steps_{steps}/fused", fused(config, early, trust=0))
        sets[f"segmenter after {steps} steps"] = LabelSet(labels, early, held_out=steps == 100)
    return sets
