"""Run the nodes of a DAG in this process: who may start when, what a hit is, and what a failure stops.

Prefect is not needed for it; the Prefect flow runs its nodes through the same `Session.run_node`.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.errors import NotSelected, StageFailed, Stopped
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import Listener, Outcome, RunResult, failure_of
from tag2mask.flows.dag.planning import changes_since
from tag2mask.flows.dag.resolve import Resolved, resolve
from tag2mask.flows.engine.budget import CoreBudget, with_all_cores
from tag2mask.flows.engine.child import run_here, run_in_child
from tag2mask.flows.engine.dask_cluster import RunCluster
from tag2mask.flows.engine.stage_process import Job, trains_backbone
from tag2mask.tasks.building.build import find_sound
from tag2mask.tasks.store.runtime import TAKEN_OVER
from tag2mask.tasks.store.store import Artifact, Store

logger = logging.getLogger(__name__)


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
    kept: Mapping[str, Artifact] = field(default_factory=dict)
    """Node -> an older model to take instead of training another."""
    in_process: bool = False
    """Build in this process instead of a child's, for tests."""
    place: Callable[[Node], AbstractContextManager[None]] = lambda node: nullcontext()
    """Held while a node is built: a slot that several runs share.  A cached node never waits for it."""
    result: RunResult = field(default_factory=RunResult)
    """How the nodes ended, filled in while the run goes on."""
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.cluster = RunCluster(self.runtime)
        self.budget = CoreBudget(self.runtime.cores, self.runtime.branches)
        self.said = {kind: threading.Semaphore(1) for kind in (False, True)}
        """The first training that changes its backbone, and the first other one, log the precision that is chosen."""
        self.ranks = {node.name: rank for rank, node in enumerate(self.nodes)}
        self.begun = set[str]()
        """Nodes of which there was an attempt, from whose checkpoint the next one goes on."""

    @cached_property
    def wide(self) -> frozenset[str]:
        """Names of the nodes that get all cores."""
        return with_all_cores(self.nodes)

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
        elif node.name in self.kept and node.name not in self.force:
            outcome = self._keep(resolved)
        elif self.allowed is not None and node.name not in self.allowed:
            raise NotSelected(self._outside(damage))
        else:
            job, progress = self._job(resolved), _Progress(node, self.listener)
            with self.place(node), self.budget.share(job.threads, self.ranks[node.name]), progress.timed(job.threads):
                (run_here if self.in_process else run_in_child)(job, progress.report, self.stop)
            outcome = self._made(resolved, progress, damage)
        self.listener.finished(outcome)
        return outcome

    def _outside(self, damage: str) -> str:
        """Why a node cannot be had that may not be built, and the remedy."""
        reason = f"damaged ({damage})" if damage else "not in the cache"
        last = [node.name for node in self.nodes if node.name in (self.allowed or ())][-1:]
        until = f", or use --until {last[0]}" if last else ""
        return f"its artifact is {reason}, and it is outside of the stages asked for: leave out --only or --from{until}"

    def _keep(self, resolved: Resolved) -> Outcome:
        node, model = resolved.node, self.kept[resolved.node.name]
        changes = changes_since(node, model.manifest["recipe"], resolved.recipe.inputs)
        note = f"kept {model.label} (retrain: never), although {'; '.join(changes)}"
        return Outcome(node, model, cached=True, seconds=0.0, kept=True, note=note)

    def _job(self, resolved: Resolved) -> Job:
        """What a process needs to build a node."""
        node, runtime = resolved.node, self.runtime
        executor = runtime.executor if node.spread else "here"
        threads = runtime.cores if node.name in self.wide else max(1, runtime.cores // 2)
        resume = node.name in self.begun
        self.begun.add(node.name)
        return Job(
            resolved.order(self.store, force=node.name in self.force, resume=resume),
            runtime.device,
            runtime.precision if node.trains else "float32",
            1 if executor == "dask" else threads,  # it waits for others' work
            runtime.shard,
            runtime.checkpoint_seconds,
            executor,
            runtime.devices if node.shares_batches else 1,
            runtime.machines if node.shares_batches else "",
            self.cluster.get() if executor == "dask" else None,
            logs_precision=node.trains and self._is_first(node),
        )

    def _is_first(self, node: Node) -> bool:
        """Whether nobody has said yet which precision was chosen for a training like this one."""
        return self.said[self.runtime.precision == "auto" and trains_backbone(node.config)].acquire(blocking=False)

    def _made(self, resolved: Resolved, progress: "_Progress", damage: str) -> Outcome:
        """How a node ended whose job ended well."""
        artifact = self.store.find(resolved.recipe.stage, resolved.recipe.key)
        if artifact is None:
            raise StageFailed(f"{resolved.label} vanished after it was made: is `rm` or another store at work?", "Gone")
        if progress.note == TAKEN_OVER:
            return Outcome(resolved.node, artifact, cached=True, seconds=0.0, note=TAKEN_OVER)
        note = f"rebuilt: {damage}" if damage else ""
        return Outcome(resolved.node, artifact, cached=False, seconds=progress.seconds, note=note)

    def pause(self, node: Node, seconds: float) -> None:
        """Wait before a node's next attempt.

        Raises:
            Stopped: the run was stopped meanwhile.
        """
        failure = self.result.failures[node.name]
        logger.info("%s is tried again in %g s: %s", node.name, seconds, failure.message)
        if self.stop.wait(seconds):
            raise Stopped("the run was stopped")

    def settle(self, node: Node, ending: Outcome | BaseException) -> None:
        """Note how a node ended."""
        if isinstance(ending, Outcome):
            self.result.outcomes[node.name] = ending
            self.result.failures.pop(node.name, None)  # of an attempt before this one
            return
        failure = failure_of(node, ending)
        self.result.failures[node.name] = failure
        self.listener.failed(failure)

    def end(self) -> None:
        """Stop all stages at work; what they have finished stays in the store."""
        self.stop.set()
        self.budget.stop()


@dataclass
class _Progress:
    """How far a stage is, passed on to who listens."""

    node: Node
    listener: Listener
    note: str = ""
    """The last one."""
    seconds: float = 0.0
    """That the stage took."""

    @contextmanager
    def timed(self, threads: int) -> Iterator[None]:
        """Tell that the stage begins, and take the time."""
        started = time.monotonic()
        self.listener.started(self.node, threads)
        yield
        self.seconds = time.monotonic() - started

    def report(self, done: int, total: int, note: str) -> None:
        """Pass on what the stage says."""
        self.note = note
        if note != TAKEN_OVER:
            self.listener.progress(self.node, done, total, note)


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
