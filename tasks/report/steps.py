"""What a report knows of the steps of a run: their manifests, their figures, and the order of the method."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.manifest import MANIFEST

_ORDER = (
    "index_dataset",
    "index_masks",
    "index_saliency_set",
    "train_classifier",
    "infer_cams",
    "train_attention",
    "infer_attention",
    "predict_prior",
    "make_saliency_pseudo_labels",
    "train_saliency",
    "predict_saliency",
    "train_cosaliency",
    "predict_cosaliency",
    "mine_objects",
    "refine_cams",
    "train_segmenter",
    "predict_masks",
    "refine_masks",
    "mask_nonsalient",
    "fuse_labels",
)
"""Stages in the order of the method; from `train_segmenter` on once a round."""
_SUBJECTS = {
    "cams": "infer_cams",
    "attention": "infer_attention",
    "prior": "predict_prior",
    "saliency": "predict_saliency",
    "cosaliency": "predict_cosaliency",
    "labels": "mask_nonsalient",
    "predictions": "predict_masks",
    "refined": "refine_masks",
    "segmenter": "refine_masks",
}
"""First word of an evaluation -> the stage that it measures."""
_SELF_TRAINING = ("make_saliency_pseudo_labels", "train_saliency", "predict_saliency")
"""Stages with rounds of their own, all of them before the first round of labels."""


@dataclass(frozen=True)
class Step:
    """One artifact of the run, under the name that it has in the flow."""

    name: str
    """E.g. `train_segmenter_1`."""
    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, folder: Path) -> Self:
        """Read the manifest in an artifact's folder."""
        return cls(name, folder, read_json(folder / MANIFEST))

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return str(self.manifest["recipe"]["stage"])

    @property
    def figures(self) -> str:
        """The first six of its own figures, in a line."""
        told = {k: v for k, v in self.manifest.get("metrics", {}).items() if isinstance(v, int | float | str)}
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in list(told.items())[:6])

    @property
    def seed(self) -> int | None:
        """Seed of a training."""
        seed: int | None = self.manifest["recipe"]["config"].get("seed")
        return seed


@dataclass(frozen=True)
class Evaluated:
    """The figures of one evaluated step."""

    name: str
    """What is measured, e.g. `segmenter_1_val`."""
    title: str
    """For people, e.g. `segmenter 1, validation`."""
    scores: Mapping[str, Any]
    """`scores.json` of the evaluation."""
    image_scores: Mapping[str, float]
    """Mean IoU by image id; without images whose mask is nothing but void, and empty for saliency."""

    @classmethod
    def read(cls, name: str, folder: Path) -> Self:
        """Read an `evaluate` artifact."""
        table = pd.read_csv(folder / "per_image.csv", dtype={"image_id": str}, keep_default_na=False, na_values=[""])
        scored = table.dropna(subset=["miou"]) if "miou" in table else table.head(0)
        images = dict(zip(scored.image_id, scored.get("miou", []), strict=True))
        scores = read_json(folder / "scores.json")
        return cls(name, title_of(name, str(scores["title"])), scores, images)

    @property
    def measured(self) -> bool:
        """Whether there are figures: there are none without masks, nor where these show no class."""
        return bool(self.summary)

    @property
    def has_classes(self) -> bool:
        """Whether the figures are mean IoU over classes; else those of saliency."""
        return "miou" in self.summary

    @property
    def summary(self) -> Mapping[str, Any]:
        """The figures for tables; empty where nothing was measured."""
        summary: Mapping[str, Any] = self.scores["summary"]
        return summary

    def class_iou(self) -> dict[str, float | None]:
        """IoU by class name, background first; empty for saliency."""
        rows: Sequence[Mapping[str, Any]] = self.scores["per_class"] or []
        return {row["class"]: row["iou"] for row in rows}


def read_steps(inputs: Mapping[str, Path]) -> list[Step]:
    """All steps in the order of the method, evaluations last."""
    return [Step.read(name, inputs[name]) for name in sorted(inputs, key=method_order)]


def read_evaluations(steps: Sequence[Step]) -> list[Evaluated]:
    """The evaluations among the steps, in their order."""
    return [Evaluated.read(s.name.removeprefix("evaluate_"), s.folder) for s in steps if s.stage == "evaluate"]


def method_order(name: str) -> tuple[bool, int, int, int, int, str]:
    """Sorting key of a step's name: stages before evaluations, rounds rising, then the order of the method.

    The rounds of the self-training lie within round 0.
    """
    subject = name.removeprefix("evaluate_")
    evaluation = subject != name
    stage = _SUBJECTS.get(subject.split("_")[0], subject) if evaluation else subject
    position = next((i for i, known in enumerate(_ORDER) if stage.startswith(known)), len(_ORDER))
    if stage.startswith(_SELF_TRAINING):
        return evaluation, 0, _ORDER.index(_SELF_TRAINING[0]), round_of(name), position, name
    return evaluation, round_of(name), position, 0, 0, name


def round_of(name: str) -> int:
    """Round in a step's name; 0 where it belongs to none."""
    number = re.search(r"_(\d+)(?=_|$)", name)
    return int(number.group(1)) if number else 0


WITHOUT_NUMBER = ("cams", "attention", "prior", "saliency", "cosaliency")
"""Steps that a run has once; the others belong to a round."""


def title_of(name: str, otherwise: str) -> str:
    """What people read for the name of an evaluated step; `otherwise` where the name is none of the flow's."""
    match = re.fullmatch(r"([a-z]+)(?:_(\d+))?(_val)?(_crf)?", name)
    if match is None:
        return otherwise
    kind, number, validation, crf = match.groups()
    words = {
        "cams": "CAM",
        "attention": "OA-CAM",
        "prior": "prior",
        "saliency": f"saliency {number}" if number else "saliency",
        "cosaliency": "co-saliency",
        "labels": f"labels {number}",
        "predictions": f"prediction {number}",
        "refined": f"prediction {number} + CRF",
        "segmenter": f"segmenter {number}",
    }
    if kind not in words or (number is None and kind not in WITHOUT_NUMBER):
        return otherwise
    return words[kind] + (" + CRF" if crf else "") + (", validation" if validation else "")
