"""Cores, handed out to stages: how many each gets is for the DAG to say, since timing would change results."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tag2mask.flows.dag.errors import Stopped
from tag2mask.flows.dag.node import Node
from tag2mask.tasks.catalog import CATALOG


def with_all_cores(nodes: Iterable[Node]) -> frozenset[str]:
    """Names of the nodes that get all cores; the others get half of them, so that branches run side by side.

    These are stages of which the catalog says so, and trainings and inferences beside which no training can run: every
    other one is finished before they start, or waits for them.

    Args:
        nodes: of a whole run, each after those that it waits for.
    """
    nodes = tuple(nodes)
    upstream: dict[str, set[str]] = {}
    for node in nodes:
        upstream[node.name] = set(node.upstream).union(*(upstream.get(name, ()) for name in node.upstream))
    trainings = {node.name for node in nodes if node.trains}
    return frozenset(
        node.name
        for node in nodes
        if CATALOG[node.stage].all_cores
        or ((node.trains or node.spread) and not _beside(node.name, trainings, upstream))
    )


def _beside(name: str, trainings: set[str], upstream: dict[str, set[str]]) -> set[str]:
    """The trainings that neither come before a node nor wait for it."""
    return {one for one in trainings - upstream[name] - {name} if name not in upstream[one]}


class CoreBudget:
    """Cores (and places) handed out to stages: the first in the DAG's order that fits is served first."""

    def __init__(self, cores: int, places: int = 0) -> None:
        self.cores = cores
        self.places = places or cores
        self.waiting: dict[int, int] = {}
        self.changed = threading.Condition()
        self.stopped = False

    @contextmanager
    def share(self, cores: int, rank: int) -> Iterator[None]:
        """Hold some cores.

        Raises:
            Stopped: the run was stopped while waiting.
        """
        with self.changed:
            self.waiting[rank] = cores
            self.changed.wait_for(lambda: self.stopped or self._next() == rank)
            del self.waiting[rank]
            if self.stopped:
                raise Stopped("the run was stopped")
            self.cores -= cores
            self.places -= 1
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.cores += cores
                self.places += 1
                self.changed.notify_all()

    def _next(self) -> int | None:
        fitting = [rank for rank, cores in self.waiting.items() if cores <= self.cores and self.places > 0]
        return min(fitting, default=None)

    def stop(self) -> None:
        """Let nobody start any more."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
