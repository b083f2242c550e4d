"""Toy stages: quick, with a log of what was run, and able to fail, wait and die.  And a small DAG of them.

left ──► left_child ──┐
                      ├──► join
right ─► right_child ─┘
"""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from tag2mask.configs.runtime import Precision, Runtime
from tag2mask.configs.schema import NodeFacts
from tag2mask.configs.sections.section import Section, Unhashed
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import Failure, Outcome, RunResult
from tag2mask.flows.engine.session import Session
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.files import write_file, write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.tasks.toy_catalog import toy_stage

STAGES = ("toy_read", "toy_join", "train_toy")


class Toy(Section):
    """Settings of a toy stage."""

    text: str = ""
    """Goes into the result."""
    batch_size: int = 8
    """Only there to be named where memory runs out."""
    does: Annotated[Literal["work", "fail", "wait", "die", "exhaust", "hiccup"], Unhashed("a test's")] = "work"
    """What becomes of the stage."""
    log: Annotated[str, Unhashed("a test's")] = ""
    """File that takes a line per run."""


class ToyError(ValueError):
    """What a toy stage fails with."""


def run(config: Toy, out: Path, runtime: StageRuntime, **inputs: Path) -> None:
    """Write the settings' text and the first word of all inputs to `result.txt`."""
    if config.log:
        with open(config.log, "ab", buffering=0) as file:
            file.write(f"{config.text} {runtime.threads} {os.getpid()}\n".encode())
    runtime.progress(1, 4, "begun")
    if config.does == "fail":
        raise ToyError(f"{config.text} cannot be done; do something else")
    if config.does == "hiccup" and not (mark := Path(f"{config.log}.hiccup")).exists():
        mark.touch()
        raise OSError("the disk was away")
    if config.does == "wait":
        time.sleep(600)
    if config.does == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.does == "exhaust":
        raise MemoryError
    words = [(path / "result.txt" if path.is_dir() else path).read_text().split()[0] for path in inputs.values()]
    text = " ".join([config.text, *words])
    write_file(out / "result.txt", lambda file: file.write(text.encode()))
    write_json(out / "metrics.json", {"miou": 0.5, "images": len(inputs)})
    runtime.progress(4, 4, "done")


def install() -> None:
    """Make the toy stages importable as stages, with versions."""
    for name in STAGES:
        module = ModuleType(f"tag2mask.tasks.{name}")
        module.run = run  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        CATALOG.setdefault(name, toy_stage(name))


def toy(name: str, stage: str, inputs: dict[str, str | Path], **settings: str) -> Node:
    """A node of a toy stage."""
    config = Toy.model_validate({"text": name, **settings})
    return Node(name, stage, config, inputs, NodeFacts(title=name))


def toy_dag(folder: Path, **settings: dict[str, str]) -> tuple[Node, ...]:
    """The DAG above; `settings` change those of single nodes.  Makes the two raw files where they are missing."""
    for name in ("left", "right"):
        if not (folder / f"{name}.txt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.txt").write_text(name)
    nodes = (
        toy("left", "toy_read", {"file": folder / "left.txt"}, **settings.get("left", {})),
        toy("right", "toy_read", {"file": folder / "right.txt"}, **settings.get("right", {})),
        toy("left_child", "toy_join", {"parent": "left"}, **settings.get("left_child", {})),
        toy("right_child", "toy_join", {"parent": "right"}, **settings.get("right_child", {})),
        toy("join", "toy_join", {"one": "left_child", "two": "right_child"}, **settings.get("join", {})),
    )
    log = str(folder / "log.txt")
    return tuple(replace(node, config=node.config.replaced(log=log)) for node in nodes)


def times_run(folder: Path) -> list[str]:
    """Names of the nodes that were run, sorted."""
    log = folder / "log.txt"
    return sorted(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else []


class Ledger:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, int]] = []
        self.ends: list[str] = []
        self.failures: list[Failure] = []
        self.notes: list[tuple[str, int, int, str]] = []

    def started(self, node: Node, threads: int) -> None:
        """Remember."""
        self.starts.append((node.name, threads))

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """Remember."""
        self.notes.append((node.name, done, total, note))

    def finished(self, outcome: Outcome) -> None:
        """Remember."""
        self.ends.append(outcome.node.name)

    def failed(self, failure: Failure) -> None:
        """Remember."""
        self.failures.append(failure)


def session(
    nodes: tuple[Node, ...], root: Path, *, cores: int = 2, precision: Precision = "auto", **settings: object
) -> Session:
    """A session that builds in this process."""
    runtime = Runtime(root=root, precision=precision, cores=cores)
    return Session(nodes, Store(root), runtime, Ledger(), in_process=True, **settings)  # type: ignore[arg-type]


def states(result: RunResult) -> dict[str, str]:
    """Node -> cached, built, failed or not run."""
    ends = {name: "cached" if outcome.cached else "built" for name, outcome in result.outcomes.items()}
    return ends | {name: "failed" if f.started else "not run" for name, f in result.failures.items()}
