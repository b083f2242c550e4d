"""How a node and a run end, and who is notified."""

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tag2mask.flows.dag.errors import MissingInput, NotSelected, StageFailed, Stopped
from tag2mask.flows.dag.node import Node
from tag2mask.tasks.catalog import section_of
from tag2mask.tasks.store.store import Artifact

COSTLY_SETTINGS = ("micro_batch", "batch_size", "crop_size", "image_size")
"""Settings that memory grows with, in the order in which to lower them."""
MEMORY_FAILURES = ("SIGKILL", "MemoryError", "OutOfMemoryError")


@dataclass(frozen=True)
class Outcome:
    """A node that has its artifact."""

    node: Node
    artifact: Artifact
    cached: bool
    seconds: float
    kept: bool = False
    """Whether it is an older model that stands in for the one that would be trained (`retrain: never`)."""
    note: str = ""
    """Anything worth saying, such as what was wrong with the artifact that was replaced."""


@dataclass(frozen=True)
class Failure:
    """A node without an artifact."""

    node: Node
    message: str
    started: bool = True
    """False where it was not run at all."""
    cause: bool = True
    """False where something that it needs failed before, or the run was stopped."""
    trace: str = ""


@dataclass
class RunResult:
    """How a run ended."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    images: str = ""
    """How many images there are, and how many are new, changed and gone."""
    clock: str = ""
    """That the clock has jumped since an earlier run, if it has."""

    @property
    def built(self) -> int:
        """Number of stages that were not cached."""
        return sum(not outcome.cached for outcome in self.outcomes.values())

    def sort(self, nodes: Iterable[Node]) -> None:
        """Bring the nodes into the DAG's order; they come in as they end."""
        names = [node.name for node in nodes]
        self.outcomes = {name: self.outcomes[name] for name in names if name in self.outcomes}
        self.failures = {name: self.failures[name] for name in names if name in self.failures}


class Listener(Protocol):
    """Is notified of what happens in a run, from several threads."""

    def started(self, node: Node, threads: int) -> None:
        """A stage began to work, with so many threads."""

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """It has done so many of its steps or images."""

    def finished(self, outcome: Outcome) -> None:
        """A node has its artifact."""

    def failed(self, failure: Failure) -> None:
        """A node will have none."""


def failure_of(node: Node, error: BaseException) -> Failure:
    """What to say of an error that a node ended with."""
    if not isinstance(error, StageFailed):
        expected = isinstance(error, MissingInput | NotSelected | Stopped)
        if expected:
            return Failure(node, str(error), isinstance(error, MissingInput), cause=not isinstance(error, Stopped))
        return Failure(node, f"{type(error).__name__}: {error}", trace="".join(traceback.format_exception(error)))
    message = str(error) or error.kind
    if error.kind in MEMORY_FAILURES:
        section = section_of(node.stage)
        values = [(name, getattr(node.config, name, None)) for name in COSTLY_SETTINGS]
        given = [f"{section}.{name} (now {value})" for name, value in values if value]
        message += f"; lower {' or '.join(given)}" if given else ""
    return Failure(node, message, trace=error.trace)
