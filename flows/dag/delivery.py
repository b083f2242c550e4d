"""What a run delivers, by what its nodes are: the labels to publish, their signals, their measurement, the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tag2mask.flows.dag.node import Node

DATASET = "index_dataset"
"""Node with the index of the images."""
REPORT = "render_report"
"""Node with the page of results; its stage bears the same name."""
SALIENCY_TRAINING = "train_saliency"
"""Stage that trains saliency networks."""
TEST = "index_test"
"""Node with the index of the images to predict alone."""


@dataclass(frozen=True)
class Delivery:
    """Names of the nodes of a run whose results others get."""

    labels: str
    """Labels of the last round, or of the chosen one."""
    signals: str
    """Their signals, for the gate."""
    confidence: str
    """How certain they are, image by image."""
    evaluation: str | None
    """Their measurement, where there are masks."""
    test_predictions: str | None
    """Predictions of the test split, where there is one."""

    @property
    def needed(self) -> tuple[str, str, str]:
        """Nodes without which there is nothing to publish: labels, signals, dataset."""
        return self.labels, self.signals, DATASET


def delivery(nodes: Sequence[Node]) -> Delivery | None:
    """What a run delivers; None for one that makes no labels."""
    signals = next((node for node in nodes if node.stage == "measure_labels"), None)
    if signals is None:
        return None
    labels = str(signals.inputs["labels"])
    measured = (node.name for node in nodes if node.facts.measures == labels)
    tested = (node.name for node in nodes if node.facts.split == "test" and node.facts.crf)
    confidence = next(node.name for node in nodes if node.stage == "measure_confidence")
    return Delivery(labels, signals.name, confidence, next(measured, None), next(tested, None))


def delivered_segmenter(settings: Mapping[str, Any]) -> str:
    """Name of the node whose segmenter a run delivers: the chosen round's, or the last one's.

    Args:
        settings: those of the run, as its record holds them, which may be of another release.
    """
    return "deliver_round" if settings.get("deliver") == "best" else f"train_segmenter-{settings['rounds'] + 1}"
