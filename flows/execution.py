"""Run the nodes of a DAG in this process: who may start when, what a hit is, and what a failure stops.

Prefect is not needed for it; the Prefect flow runs its nodes through the same `Session.run_node`.
"""

import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tag2mask.configs.runtime import Runtime
from tag2mask.flows.child import Job, StageFailed, Stopped, run_here, run_in_child
from tag2mask.flows.dag import Node
from tag2mask.flows.resolve import SECTIONS, MissingInput, Resolved, resolve
from tag2mask.tasks.common.building import find_sound
from tag2mask.tasks.common.store import Artifact, Store

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


class NotSelected(RuntimeError):
    """A node would have to be built but lies outside of what was asked for."""


class Listener(Protocol):
    """Is told what happens in a run, from several threads."""

    def started(self, node: Node, threads: int) -> None:
        """A stage began to work, with so many threads."""

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """It has done so many of its steps or photographs."""

    def finished(self, outcome: Outcome) -> None:
        """A node has its artifact."""

    def failed(self, failure: Failure) -> None:
        """A node will have none."""


@dataclass
class RunResult:
    """How a run ended."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    @property
    def built(self) -> int:
        """Number of stages that were not cached."""
        return sum(not outcome.cached for outcome in self.outcomes.values())


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


@dataclass
class Session:
    """What the nodes of one run share."""

    nodes: tuple[Node, ...]
    store: Store
    runtime: Runtime
    listener: Listener
    allowed: Collection[str] | None = None
    """Nodes that may be built; None: all."""
    force: Collection[str] = ()
    """Nodes to build although they are there."""
    in_process: bool = False
    """Build in this process instead of a child's, for tests."""
    result: RunResult = field(default_factory=RunResult)
    """How the nodes ended, filled in while the run goes on."""
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.budget = CoreBudget(self.runtime.cores, self.runtime.branches)
        self.ranks = {node.name: rank for rank, node in enumerate(self.nodes)}

    def run_node(self, node: Node, known: Mapping[str, Artifact]) -> Outcome:
        """Find a node's artifact or build it.

        Args:
            node: the node.
            known: name of each node that it reads from -> its artifact.

        Raises:
            MissingInput: a raw input does not exist.
            NotSelected: it is not there and may not be built.
            StageFailed: its stage failed.
            Stopped: the run was stopped.
        """
        if self.stop.is_set():
            raise Stopped("the run was stopped")
        resolved = resolve(node, known, self.store)
        found, damage = (None, "") if node.name in self.force else find_sound(self.store, resolved.recipe)
        if found is not None:
            outcome = Outcome(node, found, cached=True, seconds=0.0)
        elif self.allowed is not None and node.name not in self.allowed:
            reason = f"damaged ({damage})" if damage else "not in the cache"
            raise NotSelected(f"its artifact is {reason}, and it is outside of the stages asked for")
        else:
            outcome = self._build(resolved, damage)
        self.listener.finished(outcome)
        return outcome

    def _build(self, resolved: Resolved, damage: str) -> Outcome:
        node, runtime = resolved.node, self.runtime
        threads = runtime.cores if node.wide else max(1, runtime.cores // 2)
        order = resolved.order(self.store, force=node.name in self.force)
        job = Job(order, runtime.device, threads, runtime.shard, runtime.checkpoint_seconds)
        run = run_here if self.in_process else run_in_child
        with self.budget.share(threads, self.ranks[node.name]):
            started = time.monotonic()
            self.listener.started(node, threads)
            run(job, lambda done, total, note: self.listener.progress(node, done, total, note), self.stop)
        artifact = self.store.find(resolved.recipe.stage, resolved.recipe.key)
        if artifact is None:
            raise StageFailed(f"{resolved.label} vanished after it was made: is `rm` or another store at work?", "Gone")
        note = f"rebuilt: {damage}" if damage else ""
        return Outcome(node, artifact, cached=False, seconds=time.monotonic() - started, note=note)

    def settle(self, node: Node, ending: Outcome | BaseException) -> None:
        """Note how a node ended."""
        if isinstance(ending, Outcome):
            self.result.outcomes[node.name] = ending
            return
        failure = failure_of(node, ending)
        self.result.failures[node.name] = failure
        self.listener.failed(failure)

    def end(self) -> None:
        """Stop all stages at work; what they have finished stays in the store."""
        self.stop.set()
        self.budget.stop()


def failure_of(node: Node, error: BaseException) -> Failure:
    """What to say of an error that a node ended with."""
    if not isinstance(error, StageFailed):
        expected = isinstance(error, MissingInput | NotSelected | Stopped)
        if expected:
            return Failure(node, str(error), isinstance(error, MissingInput), cause=not isinstance(error, Stopped))
        return Failure(node, f"{type(error).__name__}: {error}", trace="".join(traceback.format_exception(error)))
    message = str(error) or error.kind
    if error.kind in MEMORY_FAILURES:
        section = SECTIONS.get(node.stage, node.stage)
        values = [(name, getattr(node.config, name, None)) for name in COSTLY_SETTINGS]
        given = [f"{section}.{name} (now {value})" for name, value in values if value]
        message += f"; lower {' or '.join(given)}" if given else ""
    return Failure(node, message, trace=error.trace)


def execute(session: Session) -> RunResult:
    """Run all nodes of a session, several at a time; what does not depend on a failed one still runs.

    Raises:
        KeyboardInterrupt: passed on after the stages at work were ended.
    """
    running: dict[Future[Outcome], Node] = {}
    with session.store.lock("run", shared=True), ThreadPoolExecutor(len(session.nodes)) as pool:
        try:
            while _start_ready(session, running, pool) or running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    session.settle(running.pop(future), future.exception() or future.result())
        except BaseException:
            session.end()
            raise
    return session.result


def _start_ready(session: Session, running: dict[Future[Outcome], Node], pool: ThreadPoolExecutor) -> bool:
    """Start what has all it needs, and give up what has lost something it needs; whether anything changed."""
    result = session.result
    under_way = {node.name for node in running.values()} | result.outcomes.keys() | result.failures.keys()
    changed = False
    for node in session.nodes:
        if node.name in under_way:
            continue
        lost = [name for name in node.upstream if name in result.failures]
        if lost:
            session.settle(node, Stopped(f"not run: needs {lost[0]}"))
            changed = True
        elif all(name in result.outcomes for name in node.upstream):
            known = {name: result.outcomes[name].artifact for name in node.upstream}
            running[pool.submit(session.run_node, node, known)] = node
            changed = True
    return changed
