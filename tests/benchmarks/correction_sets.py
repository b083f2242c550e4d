"""What corrections are worth on voc-mini: the same round with more and more corrected images."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.schema import Config, Evaluation, StepKind
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.delivery import delivery
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.record import RunRecord
from tag2mask.tasks import (
    apply_corrections,
    evaluate,
    fuse_labels,
    index_corrections,
    mask_nonsalient,
    measure_confidence,
    predict_masks,
    refine_masks,
    train_segmenter,
)
from tag2mask.tasks.corrections.folder import Correction, CorrectionFolder
from tag2mask.tasks.dataset.ground_truth import GroundTruth
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.exports.review import choose
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tests.benchmarks.filled import filled

WORK = Path(os.environ.get("TAG2MASK_BENCHMARK", "artifacts/.benchmark")) / "corrections"
RUNTIME = StageRuntime()


@dataclass(frozen=True)
class Finished:
    """A finished run: its settings, its nodes, and the folders of its artifacts by the names of their nodes."""

    config: Config
    nodes: Mapping[str, Node]
    folders: Mapping[str, Path]

    @classmethod
    def of(cls, record: RunRecord, store: Path) -> "Finished":
        """What a record refers to; the test is skipped where it is not all there."""
        config = Config.model_validate(record.content["config"])
        nodes = {node.name: node for node in build_dag(config)}
        found = {name: store / label for name, label in record.labels.items() if (store / label).is_dir()}
        run = cls(config, nodes, found)
        lacking = {*run.evidence.values(), run.first_labels, "index_masks"} - found.keys()
        if lacking:
            pytest.skip(f"the newest run of {record.name} in {store} lacks {', '.join(sorted(lacking))}: let it finish")
        return run

    @property
    def evidence(self) -> dict[str, str]:
        """What the confidence of the delivered labels is measured by -> the node that made it."""
        made = delivery(tuple(self.nodes.values()))
        assert made is not None
        return {name: str(node) for name, node in self.nodes[made.confidence].inputs.items()}

    @property
    def first_labels(self) -> str:
        """Node of labels 0."""
        return str(self.nodes["train_segmenter-1"].inputs["labels"])

    @property
    def dataset(self) -> Path:
        """The index of the images."""
        return self.folders["index_dataset"]

    @property
    def masks(self) -> Path:
        """The ground truth, which stands for the person who corrects."""
        return self.folders["index_masks"]

    @property
    def weights(self) -> Path | None:
        """File of the backbone's weights, where the settings name one."""
        return self.config.segmenter.backbone.weights_file


def chosen_images(run: Finished, count: int) -> dict[str, list[str]]:
    """Way of choosing -> training images in the order in which they are corrected."""
    inputs = {name: run.folders[node] for name, node in run.evidence.items()}
    table = filled(
        WORK / "confidence", lambda out: measure_confidence.run(run.config.confidence, out, RUNTIME, **inputs)
    )
    with_masks = GroundTruth.read(run.masks).ids("train")
    others = sorted(set(ImageIndex.read(run.dataset).split("train").ids) - set(with_masks))
    reviewed, _ = choose(table / "confidence.csv", count, others)
    drawn, _ = choose(table / "confidence.csv", count, others, "random")
    return {"review": reviewed, "random": drawn}


def corrections_of(run: Finished, image_ids: Sequence[str], folder: Path) -> Path:
    """An `index_corrections` artifact in which images have their ground truth, as a person might have drawn it."""
    index, truth = ImageIndex.read(run.dataset), GroundTruth.read(run.masks)
    files = {record.image_id: index.folder / record.file for record in index}
    about = {i: Correction(i, file_digest(files[i]), "ground truth", "2026-01-01T00:00:00Z") for i in image_ids}

    def draw(out: Path) -> None:
        CorrectionFolder.read(out).add({i: truth.mask(i) for i in image_ids}, index.classes, about)

    drawn = filled(folder / "drawn", draw)
    return filled(
        folder / "corrections",
        lambda out: index_corrections.run(Section(), out, RUNTIME, dataset=run.dataset, corrections=drawn),
    )


class Round:
    """A round of a run with some images corrected: from labels 0 to the segmenter and the labels that follow.

    Args:
        run: the finished run.
        image_ids: what is corrected.
        folder: of this round alone.
    """

    def __init__(self, run: Finished, image_ids: Sequence[str], folder: Path) -> None:
        self.run, self.folder = run, folder
        self.corrections = corrections_of(run, image_ids, folder) if image_ids else None

    def made(self, name: str, stage: Callable[..., None], config: Section, **inputs: Any) -> Path:
        """What a stage makes, once."""

        def make(out: Path) -> None:
            stage(config, out, RUNTIME, dataset=self.run.dataset, **inputs)

        return filled(self.folder / name, make, resumes=True)

    def corrected(self, name: str, labels: Path) -> Path:
        """Labels with the corrections in their places."""
        if self.corrections is None:
            return labels
        return self.made(name, apply_corrections.run, Section(), labels=labels, corrections=self.corrections)

    @property
    def labels(self) -> Path:
        """Labels 0."""
        return self.corrected("labels_0", self.run.folders[self.run.first_labels])

    @property
    def model(self) -> Path:
        """The segmenter that learns from labels 0, of all images: corrected ones of several tags are to count."""
        config, weights = self.run.config.segmenter.replaced(first_round_tags=None), self.run.weights
        return self.made("model", train_segmenter.run, config, labels=self.labels, weights=weights)

    def validation_miou(self) -> float:
        """Mean IoU of the segmenter on the validation images, of which none is ever corrected."""
        config, model = self.run.config.prediction, self.model
        predictions = self.made("val", predict_masks.run, config, split="val", model=model)
        return self._miou("val_scores", predictions, kind="predictions", split="val")

    def labels_miou(self, left_out: Path) -> float:
        """Mean IoU of labels 1 on the training images that are not in a folder of corrections."""
        config, model = self.run.config, self.model
        scores = self.made("train", predict_masks.run, config.prediction, split="train", model=model)
        if config.next_labels == "fusion":
            first = self.labels
            labels = self.made("labels_1", fuse_labels.run, config.fusion, scores=scores, labels=first)
        else:
            inputs: dict[str, Any] = {
                "predictions": self.made("crf", refine_masks.run, config.refinement, scores=scores)
            }
            inputs |= {"labels": self.labels, "saliency": self.run.folders[self.run.evidence["saliency"]]}
            labels = self.made("labels_1", mask_nonsalient.run, config.masking, **inputs)
        return self._miou("labels_scores", labels, kind="labels", split="train", corrections=left_out)

    def _miou(self, name: str, subject: Path, *, kind: StepKind, split: str, **inputs: Any) -> float:
        given: dict[str, Any] = {"kind": kind, "split": split, "title": name, "masks": self.run.masks, **inputs}
        out = self.made(name, evaluate.run, Evaluation(), subject=subject, **given)
        return float(100 * read_json(out / "metrics.json")["miou"])
