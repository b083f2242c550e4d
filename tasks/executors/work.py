"""What a worker does, of whatever kind it is: open the work once, answer for shard after shard."""

import copy
import logging
import os
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Shard = tuple[str, ...]
"""Ids of images that are worked on in one go."""
Process = Callable[[Sequence[str]], Iterator[tuple[str, Any]]]
"""Takes the ids of a shard, yields (id, result).  Called by several threads at once where they share a process."""
OpenWork = Callable[[str], Process]
"""Takes the device, loads what the work needs, such as a network, and returns what does it: a module's function or a
`partial` of one with paths and settings, so that it can be sent to a worker.  Never arrays: workers read the store."""
LogLine = tuple[str, int, str]
"""Logger's name, level, message."""


@dataclass(frozen=True)
class Answer:
    """What came of a shard."""

    worker: str
    """Who worked on it."""
    results: tuple[tuple[str, Any], ...] = ()
    """(id, result), in the order of the shard; those before an error."""
    error: Exception | None = None
    """What the work raised at last."""
    log: tuple[LogLine, ...] = ()


def one_by_one(work: Callable[[str], Any]) -> Process:
    """The process that takes the images of a shard one by one; `work` takes an id and returns the result."""

    def process(image_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        for image_id in image_ids:
            yield image_id, work(image_id)

    return process


class WorkerError(RuntimeError):
    """What the work raised on a worker, where the error itself cannot be sent."""


class Unwanted(RuntimeError):
    """Nobody waits for the shard any more."""


def compute_alone(*, network: bool = True) -> None:
    """Let torch compute in one thread and by deterministic kernels, in the thread that calls.

    Without a network torch is left alone unless it is loaded: some stages do without it, and it is slow to load.

    How many threads share a sum decides its last digits.  With one thread a worker, and images side by side on several
    workers, results do not depend on the number of either.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: deterministic matrix products
    if not network and "torch" not in sys.modules:
        return
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


@dataclass(frozen=True)
class Order:
    """Work, and how it is to be done: what a worker is sent once."""

    open_work: OpenWork
    device: str
    """`cpu` or `cuda`."""
    network: bool
    """Whether torch is at work."""
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this order alone, so that a worker knows it again."""


@dataclass
class _Opened:
    """The work that this process was last asked for."""

    name: str = ""
    process: Process | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_last = _Opened()


def opened(order: Order) -> Process:
    """What does a work, which is opened unless it was the last one: a worker holds one network at a time."""
    with _last.lock:
        if _last.process is None or _last.name != order.name:
            _last.process = None  # lets go of the memory of the one before
            _last.process, _last.name = order.open_work(order.device), order.name
        return _last.process


def answer(order: Order, shard: Shard, worker: str, wanted: Callable[[], bool] = lambda: True) -> Answer:
    """Work on a shard; an error is part of the answer.

    Args:
        order: what to do.
        shard: ids of its images.
        worker: who works.
        wanted: asked after each image whether to go on.
    """
    results = []
    with _Kept() as log:
        try:
            compute_alone(network=order.network)
            process = opened(order)
            compute_alone(network=order.network)  # of what was loaded with the work
            for pair in process(shard):
                results.append(pair)
                if not wanted():
                    raise Unwanted(f"nobody waits for {shard[0]} … {shard[-1]} any more")
        except Exception as error:
            return Answer(worker, tuple(results), _sendable(error, worker), tuple(log.lines))
    return Answer(worker, tuple(results), log=tuple(log.lines))


def _sendable(error: Exception, worker: str) -> Exception:
    """An error that another process can read, with a note of where it happened."""
    try:
        copy.deepcopy(error)  # by the protocol that sending uses
    except Exception:
        error = WorkerError(f"{type(error).__name__}: {error}")
    error.add_note(f"on the worker {worker}:\n{traceback.format_exc()}")
    return error


class _Kept(logging.Handler):
    """Keeps what the stages log in this thread, for the process that writes the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[LogLine] = []
        self.thread = threading.get_ident()

    def __enter__(self) -> "_Kept":
        logging.getLogger("tag2mask").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tag2mask").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.lines.append((record.name, record.levelno, record.getMessage()))
