"""From settings to a finished run: the DAG, its nodes run by an engine, the record, and what is printed at the end."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.configs.runtime import Runtime
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.delivery import DATASET, REPORT
from tag2mask.flows.dag.errors import RunFailed, UnknownNode
from tag2mask.flows.dag.given_inputs import check_given
from tag2mask.flows.dag.node import Node, named, select
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.dag.planning import plan
from tag2mask.flows.dag.record import latest, write_failure_log, write_record
from tag2mask.flows.engine.garbage import holdings_line
from tag2mask.flows.engine.publishing import publish_run
from tag2mask.flows.engine.retraining import Retrain, images_summary, kept_models
from tag2mask.flows.engine.session import Session
from tag2mask.tasks.store.store import Artifact, Store

if TYPE_CHECKING:
    from tag2mask.tasks.release.publish import Publication

DEBUG = "TAG2MASK_DEBUG"
"""Environment variable: if it is set, log lines of level DEBUG are shown too."""
RunNodes = Callable[[Session], RunResult]
"""An engine: runs all nodes of a session and says how they ended."""


@dataclass(frozen=True)
class Selection:
    """Which stages a run may build, and which it must build again."""

    only: str | None = None
    """Stage or node to build alone."""
    since: str | None = None
    """Stage or node from which on to build."""
    until: str | None = None
    """Stage or node up to which to build."""
    force: Sequence[str] = ()
    """Stages or nodes to build although they are there."""
    retrain: Retrain = "when_changed"
    """Whether models of the last run are kept, or trained anew where data or settings changed, or in any case."""
    keeps_within: bool = True
    """Whether `never` keeps models of the stages that may be built, too, or those of what they need alone."""

    def allowed(self, nodes: Sequence[Node]) -> set[str] | None:
        """Names of the nodes that may be built; None where all may."""
        if self.only is None and self.since is None and self.until is None:
            return None
        chosen = {node.name for node in select(nodes, only=self.only, since=self.since, until=self.until)}
        if not chosen:
            given = {"only": self.only, "from": self.since, "until": self.until}
            said = " and ".join(f"--{option} {stage}" for option, stage in given.items() if stage is not None)
            raise UnknownNode(f"{said} have no stage in common: nothing to run")
        return chosen

    def forced(self, nodes: Sequence[Node]) -> set[str]:
        """Names of the nodes to build although they are there.

        Raises:
            UnknownNode: a stage to force is outside of those that may be built, or unknown.
        """
        allowed = self.allowed(nodes)
        asked = {name for stage in self.force for name in named(nodes, stage)}
        if allowed is not None and (outside := sorted(asked - allowed)):
            raise UnknownNode(
                f"--force {', '.join(outside)}: outside of the stages asked for by --only, --from or --until"
            )
        return asked | {
            node.name
            for node in nodes
            if node.trains and self.retrain == "always" and (allowed is None or node.name in allowed)
        }

    def kept(self, nodes: Sequence[Node], store: Store, name: str) -> dict[str, Artifact]:
        """Training node -> the model of an earlier run that stands in for it."""
        if self.retrain != "never":
            return {}
        within = set() if self.keeps_within else self.allowed(nodes) or {node.name for node in nodes}
        return {node: model for node, model in kept_models(nodes, store, name).items() if node not in within}

    def needed(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The nodes to look at: those that may be built, and what they need."""
        nodes = tuple(nodes)
        names: set[str] = self.allowed(nodes) or {node.name for node in nodes}
        for node in reversed(nodes):
            if node.name in names:
                names |= set(node.upstream)
        return tuple(node for node in nodes if node.name in names)


def run_config(config: Config, runtime: Runtime, selection: Selection, run_nodes: RunNodes) -> RunResult:
    """Run a configuration, show its progress, and write its record.

    Args:
        config: the settings.
        runtime: resources.
        selection: which stages.
        run_nodes: the engine: runs the nodes of a session.

    Raises:
        UnknownNode: the selection names a stage that the run does not have.
        MissingInput, WeightsError: a file of the settings does not exist, or a model does not fit them.
        KeyboardInterrupt: it was interrupted; finished work is kept, and the record says so.
    """
    from tag2mask.flows.engine.console import shown_progress, standard_output

    dag = build_dag(config)
    nodes, allowed, forced = selection.needed(dag), selection.allowed(dag), selection.forced(dag)
    check_given(config, nodes)
    store = Store(runtime.root).create()
    kept = selection.kept(nodes, store, config.name)
    started, result, stopped = time.time(), RunResult(), True
    with store.lock("run", shared=True):  # until a record names what was made, garbage collection could take it
        try:
            with shown_progress(standard_output()) as listener, _log_shown():
                session = Session(nodes, store, runtime, listener, allowed, forced, kept, result=result)
                with closing(session.cluster):
                    run_nodes(session)
            stopped = False
        finally:
            result.sort(nodes)
            if (index := result.outcomes.get(DATASET)) is not None:
                result.images = images_summary(store.root, index.artifact, latest(store.root, config.name))
            if result.outcomes or result.failures:
                whole = result.outcomes.keys() >= {node.name for node in dag}
                record = write_record(runtime.root, config, result, started, whole=whole, stopped=stopped)
                write_failure_log(record, result)
                result.clock = record.content["clock"]
    return result


def finds_everything(config: Config, runtime: Runtime, selection: Selection) -> bool:
    """Whether a run would find all that it needs; nothing is changed, and what is wrong is left for the run to say."""
    dag, store = build_dag(config), Store(runtime.root)
    nodes, kept = selection.needed(dag), selection.kept(dag, store, config.name)
    rows = plan(nodes, store, None, force=selection.forced(dag), kept=kept)
    return all(row.state in ("cached", "kept") for row in rows)


@contextmanager
def _log_shown() -> Iterator[None]:
    """Show the stages' log lines on stderr."""
    logger = logging.getLogger("tag2mask")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if os.environ.get(DEBUG) else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def report_path(result: RunResult) -> Path | None:
    """Where the run's report lies."""
    outcome = result.outcomes.get(REPORT)
    if outcome is None:
        return None
    return next(iter(sorted(outcome.artifact.path.glob("*.html"))), None)


@dataclass(frozen=True)
class Ending:
    """What came of a run in which nothing failed."""

    report: Path | None
    """Where the report lies, if the run has one."""
    publication: "Publication | None"
    """What became of its labels, if they were published."""


def conclude(config: Config, root: Path, result: RunResult) -> Ending:
    """Print what came of a run, and publish its labels where the settings ask for it.

    Args:
        config: the settings of the run.
        root: folder of the artifact store.
        result: how its nodes ended.

    Raises:
        RunFailed: a stage failed, or was needed and could not be had.
        DamagedArtifact, NoRoomOnDisk, StoreNotWritable: the stages ended well but their labels could not be published.
    """
    from tag2mask.flows.engine.console import print_result, standard_output

    console = standard_output()
    if result.built or result.failures:
        print_result(console, result)
    else:
        kept = sum(outcome.kept for outcome in result.outcomes.values())
        done = f"all {len(result.outcomes)} stages are up to date"
        if kept:
            done = f"{kept} trained models were kept although settings or data have changed (--retrain never)"
        console.print(f"nothing to do: {done}", highlight=False)
    for line in filter(None, (result.images, result.clock, holdings_line(root))):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if result.failures:
        raise RunFailed(failure_message(result, root, config.name))
    report = report_path(result)
    if report is not None:
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    publication = publish_run(config, root, result)
    for line in [] if publication is None else publication.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return Ending(report, publication)


def failure_message(result: RunResult, root: Path, name: str) -> str:
    """The causes, one a line, without the stages that could not run because of them."""
    causes = [f"{node}: {failure.message}" for node, failure in result.failures.items() if failure.cause]
    lost = len(result.failures) - len(causes)
    record = latest(root, name)
    lines = [*causes, f"{lost} stages that need them were not run"] if lost else causes
    if record is not None and any(failure.trace for failure in result.failures.values()):
        lines.append(f"tracebacks: {record.path.with_suffix('.log')}")
    return "\n".join(lines)
