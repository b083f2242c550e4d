"""A run of the toy DAG with real processes, as a program that the tests kill.

Usage: python -m tests.flows.toy_program FOLDER NODE=WHAT...; prints one line per event.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.node import Node
from tag2mask.flows.engine import child
from tag2mask.flows.engine.session import Session, execute
from tag2mask.tasks.store.store import Store
from tests.flows import toys


class Announcer(toys.Ledger):
    """Prints what happens."""

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """Print, in one piece: stages report from threads of their own."""
        print(f"progress {node.name} {done} {total} {note}\n", end="", flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> None:
    """Run the DAG and print how its nodes ended."""
    child.PRELOADED[:] = [*os.environ.get("TOY_PRELOADED", "").split(), "tests.flows.toy_children"]
    toys.install()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in the background start with it ignored
    folder = Path(sys.argv[1])
    settings = {name: {"does": what} for name, what in (given.split("=") for given in sys.argv[2:])}
    nodes = toys.toy_dag(folder, **settings)
    runtime = Runtime(root=folder / "store", cores=2)
    result = execute(Session(nodes, Store(runtime.root), runtime, Announcer()))
    for name, state in toys.states(result).items():
        print("end", name, state, flush=True)
    for name, failure in result.failures.items():
        print("failure", name, failure.message, flush=True)


if __name__ == "__main__":
    main()
