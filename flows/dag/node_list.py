"""The nodes of a run while they are gathered: how one is added, a training, and a measurement."""

from collections.abc import Iterable, Mapping
from typing import Any

from tag2mask.configs.schema import Config, NodeFacts, StepKind
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.node import Node, Source
from tag2mask.tasks.catalog import CATALOG


class NodeList:
    """The nodes so far, every node after those that it needs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.nodes: list[Node] = []
        self.checks: list[str] = []
        """Nodes that look at the data, which every training waits for."""
        self.corrections = None if config.dataset.corrections is None else "index_corrections"
        """Node with the masks that people corrected, where there are some."""

    def add(
        self,
        name: str,
        stage: str,
        config: Section,
        *,
        arguments: Mapping[str, Any] | None = None,
        facts: NodeFacts | None = None,
        after: Iterable[str] = (),
        **inputs: Source | None,
    ) -> str:
        """Add a node; an input that is None is left out.

        Args:
            name: of the node.
            stage: that it runs.
            config: settings of the stage.
            arguments: what the stage is given beside settings and inputs.
            facts: its title, round, split; without them it bears the title of its stage and belongs to no round.
            after: nodes to wait for although nothing of theirs is read.
            inputs: what the stage reads.

        Returns:
            The node's name.
        """
        given = {key: source for key, source in inputs.items() if source is not None}
        known = facts or NodeFacts(title=CATALOG[stage].title)
        self.nodes.append(Node(name, stage, config, given, known, arguments or {}, tuple(after)))
        return name

    def train(
        self,
        name: str,
        stage: str,
        config: Any,
        *,
        arguments: Mapping[str, Any] | None = None,
        facts: NodeFacts | None = None,
        after: Iterable[str] = (),
        **inputs: Source | None,
    ) -> str:
        """Add a training: its weights file enters by content; it waits for all checks of the data."""
        weights = config.backbone.weights_file
        checks = [*self.checks, *after]
        return self.add(name, stage, config, arguments=arguments, facts=facts, after=checks, weights=weights, **inputs)

    def evaluate(self, name: str, subject: str, kind: StepKind, labels: str | None = None) -> tuple[str, ...]:
        """Measure a node's result where there are masks; returns the node that does, to wait for, or nothing.

        Args:
            name: what stands behind `evaluate-`.
            subject: the node.
            kind: what it made.
            labels: the node whose labels it rates, where it is a confidence.
        """
        if self.config.dataset.masks is None:
            return ()
        facts = next(node.facts for node in self.nodes if node.name == subject)
        title = facts.title + (", validation" if facts.split == "val" else "")
        node = self.add(
            f"evaluate-{name}",
            "evaluate",
            self.config.evaluation,
            arguments={"kind": kind, "split": facts.split, "title": title},
            facts=facts.replaced(title=title, measures=subject),
            dataset="index_dataset",
            masks="index_masks",
            subject=subject,
            corrections=self.corrections if facts.split == "train" else None,
            labels=labels,
        )
        return (node,)
