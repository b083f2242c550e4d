"""A node of the DAG, and the choice of some of them for a partial run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tag2mask.configs.sections.results import NodeFacts
from tag2mask.configs.sections.section import Section, as_json
from tag2mask.flows.dag.errors import UnknownNode
from tag2mask.tasks.catalog import CATALOG

Source = str | Path
"""Name of a node, or a raw file or folder."""


@dataclass(frozen=True)
class Node:
    """One stage of one run."""

    name: str
    """Unique in the run: the stage, with round, split or subject where it occurs more than once."""
    stage: str
    config: Section
    inputs: Mapping[str, Source]
    facts: NodeFacts
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What its stage is given beside settings and inputs: the split, the kind of what it measures."""
    after: tuple[str, ...] = ()
    """Nodes that must have succeeded first although nothing of theirs is read: checks of the data, guards."""

    @property
    def hashed(self) -> dict[str, Any]:
        """What of settings and arguments can change the result; what enters by content (paths) is not in it."""
        arguments: dict[str, Any] = as_json(dict(self.arguments))
        return self.config.recipe() | arguments

    @property
    def spread(self) -> bool:
        """Whether its images are handed to the run's executor."""
        return CATALOG[self.stage].spread

    @property
    def trains(self) -> bool:
        """Whether it trains a network: such stages of several runs share a slot, and their results can be kept."""
        return CATALOG[self.stage].trains

    @property
    def shares_batches(self) -> bool:
        """Whether several devices can share the batches of its training; PurNet's subnetworks learn one by one."""
        return CATALOG[self.stage].shares_batches and getattr(self.config, "provider", "") != "purnet"

    @property
    def upstream(self) -> tuple[str, ...]:
        """Names of the nodes it waits for."""
        return (*(source for source in self.inputs.values() if isinstance(source, str)), *self.after)


def select(
    nodes: Iterable[Node], *, only: str | None = None, since: str | None = None, until: str | None = None
) -> tuple[Node, ...]:
    """The nodes that a partial run may build: one stage, from one on, or up to one; the rest must be cached.

    Raises:
        UnknownNode: no node or stage has that name.
    """
    nodes = tuple(nodes)
    chosen = {node.name for node in nodes}
    if only is not None:
        chosen &= named(nodes, only)
    if since is not None:
        chosen &= _downstream(nodes, named(nodes, since))
    if until is not None:
        chosen &= _upstream(nodes, named(nodes, until))
    return tuple(node for node in nodes if node.name in chosen)


def named(nodes: Iterable[Node], name: str) -> set[str]:
    """Names of the nodes meant by a node's or a stage's name."""
    nodes = tuple(nodes)
    found = {node.name for node in nodes if name in (node.name, node.stage)}
    if not found:
        raise UnknownNode(f"no stage {name!r} in this run; it has: {', '.join(node.name for node in nodes)}")
    return found


def _downstream(nodes: tuple[Node, ...], start: set[str]) -> set[str]:
    reached = set(start)
    for node in nodes:
        if reached & set(node.upstream):
            reached.add(node.name)
    return reached


def _upstream(nodes: tuple[Node, ...], start: set[str]) -> set[str]:
    reached = set(start)
    for node in reversed(nodes):
        if node.name in reached:
            reached |= set(node.upstream)
    return reached
