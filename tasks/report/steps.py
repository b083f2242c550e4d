"""What a report knows of the steps of a run: their manifests, their figures, and the order of the method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tag2mask.configs.schema import NodeFacts
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.tables import read_columns
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.manifest import MANIFEST


@dataclass(frozen=True)
class Step:
    """One artifact of the run, under the name that it has in the flow."""

    name: str
    """Of its node, e.g. `train_segmenter-1`."""
    folder: Path
    manifest: Mapping[str, Any]
    facts: NodeFacts

    @classmethod
    def read(cls, name: str, folder: Path, facts: NodeFacts | None = None) -> Self:
        """Read the manifest in an artifact's folder; without facts its stage gives the title."""
        manifest = read_json(folder / MANIFEST)
        return cls(name, folder, manifest, facts or NodeFacts(title=CATALOG[manifest["recipe"]["stage"]].title))

    @property
    def stage(self) -> str:
        """Name of the stage that made it."""
        return str(self.manifest["recipe"]["stage"])

    @property
    def figures(self) -> str:
        """The first six of its own figures, in a line."""
        shown = {k: v for k, v in self.manifest.get("metrics", {}).items() if isinstance(v, int | float | str)}
        return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in list(shown.items())[:6])

    @property
    def seed(self) -> int | None:
        """Seed of a training."""
        seed: int | None = self.manifest["recipe"]["config"].get("seed")
        return seed


@dataclass(frozen=True)
class Evaluated:
    """The figures of one evaluated step."""

    name: str
    """Of its node, e.g. `evaluate-segmenter_1_val`."""
    facts: NodeFacts
    scores: Mapping[str, Any]
    """`scores.json` of the evaluation."""
    image_scores: Mapping[str, float]
    """Mean IoU by image id; without images whose mask is nothing but void, and empty for saliency."""

    @classmethod
    def read(cls, step: Step) -> Self:
        """Read an `evaluate` artifact."""
        folder = step.folder
        table = read_columns(folder / "per_image.csv")
        scored = zip(table["image_id"].tolist(), table["miou"].tolist(), strict=True) if "miou" in table else ()
        images = {image_id: miou for image_id, miou in scored if not math.isnan(miou)}
        scores = read_json(folder / "scores.json")
        return cls(step.name, step.facts, scores, images)

    @property
    def title(self) -> str:
        """For people, e.g. `segmenter 1, validation`."""
        return self.facts.title

    @property
    def measured(self) -> bool:
        """Whether there are figures: there are none without masks, nor where these show no class."""
        return bool(self.summary)

    @property
    def has_classes(self) -> bool:
        """Whether the figures are mean IoU over classes."""
        return "miou" in self.summary

    @property
    def is_saliency(self) -> bool:
        """Whether the figures are those of saliency."""
        return "mae" in self.summary

    @property
    def summary(self) -> Mapping[str, Any]:
        """The figures for tables; empty where nothing was measured."""
        summary: Mapping[str, Any] = self.scores["summary"]
        return summary

    def class_iou(self) -> dict[str, float | None]:
        """IoU by class name, background first; empty for saliency."""
        rows: Sequence[Mapping[str, Any]] = self.scores["per_class"] or []
        return {row["class"]: row["iou"] for row in rows}


def read_steps(inputs: Mapping[str, Path], nodes: Mapping[str, NodeFacts]) -> list[Step]:
    """All steps in the order of `nodes`, evaluations last."""
    ranks = {name: rank for rank, name in enumerate(nodes)}
    steps = [Step.read(name, folder, nodes.get(name)) for name, folder in inputs.items()]
    return sorted(steps, key=lambda step: (bool(step.facts.measures), ranks.get(step.name, -1)))


def read_evaluations(steps: Sequence[Step]) -> list[Evaluated]:
    """The evaluations among the steps, in their order."""
    return [Evaluated.read(step) for step in steps if step.facts.measures]
