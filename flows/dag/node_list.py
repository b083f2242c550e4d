"""The nodes of a run while they are gathered: how one is added, a training, and a measurement."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tag2mask.configs.schema import Config, EvaluationOf
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.node import Node, Source


class NodeList:
    """The nodes so far, every node after those that it needs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.nodes: list[Node] = []
        self.checks: list[str] = []
        """Nodes that look at the data, which every training waits for."""

    def add(
        self,
        name: str,
        stage: str,
        config: Section,
        *,
        hashed: Mapping[str, Any] | None = None,
        after: Iterable[str] = (),
        **inputs: Source | None,
    ) -> str:
        """Add a node; an input that is None is left out.

        Args:
            name: of the node.
            stage: that it runs.
            config: settings of the stage.
            hashed: the part of them that enters the key; None: all.
            after: nodes to wait for although nothing of theirs is read.
            inputs: what the stage reads.

        Returns:
            The node's name.
        """
        given = {key: source for key, source in inputs.items() if source is not None}
        content = config.model_dump(mode="json") if hashed is None else hashed
        self.nodes.append(Node(name, stage, config, content, given, tuple(after)))
        return name

    def train(self, name: str, stage: str, config: Any, after: Iterable[str] = (), **inputs: Source | None) -> str:
        """Add a training: its weights file enters by content; it waits for all checks of the data."""
        content = config.model_dump(mode="json", exclude=getattr(config, "unread", None))
        weights = config.backbone.weights_file
        if weights is not None:
            content["backbone"]["weights"] = "file"
        return self.add(name, stage, config, hashed=content, after=[*self.checks, *after], weights=weights, **inputs)

    def evaluate(
        self,
        title: str,
        subject: str,
        kind: Literal["class_maps", "saliency", "cosaliency", "labels", "training_labels", "predictions"],
        split: Literal["train", "val"] = "train",
    ) -> tuple[str, ...]:
        """Measure a step where there are masks; returns the node, to wait for, or nothing."""
        if self.config.dataset.masks is None:
            return ()
        config = EvaluationOf(**self.config.evaluation.model_dump(), kind=kind, split=split, title=title)
        name = f"evaluate-{title}"
        return (self.add(name, "evaluate", config, dataset="index_dataset", masks="index_masks", subject=subject),)
