"""Shards on processes of this machine, forked from a server that has loaded torch already."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from types import ModuleType, TracebackType
from typing import Any, Self

from tag2mask.tasks.executors.window import Ended
from tag2mask.tasks.executors.work import Answer, Order, Shard, answer

PRELOADED = ("torch", "torchvision", "timm", "pandas", "scipy.ndimage", "PIL.Image", "tag2mask.configs.schema")
"""What most stages import: loaded once, it is not loaded in each of the processes."""
SUMMING = {"OPENBLAS_NUM_THREADS": "1"}
"""Of BLAS: one thread, so that sums do not depend on the machine."""
WAITING = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
"""Of OpenMP, GNU's and LLVM's: threads that wait for each other sleep.  Spinning, the default, keeps a core from
whoever they wait for where stages or other programs share the cores.  What the user has set stays."""
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736", "MALLOC_TOP_PAD_": "67108864"}
"""Of GNU's malloc: memory that a layer's output leaves is kept for the next one.  By default each large output is
mapped anew and its pages are cleared one by one, which takes longer than the layer (EfficientNet-Lite0, 16 images of
320 pixels, one AVX2 thread: 149 ms an image, 53 ms with this).  What the user has set stays."""
MALLOPT = {"MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_TOP_PAD_": -2}
"""What `mallopt` calls them: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD."""
LARGEST_INT = 2**31 - 1
"""Which `mallopt` takes."""
_starting = threading.Lock()


def start_process(
    target: Callable[..., None], args: tuple[Any, ...], name: str, preloaded: Sequence[str]
) -> ForkServerProcess:
    """Start a process that is forked from a server, which loads some modules first.

    Args:
        target: a module's function.
        args: what it is given.
        name: of the process.
        preloaded: the modules, of the first process that is started; later ones come from the same server.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    process = context.Process(target=target, args=args, name=name)
    with _starting:
        # The child would import the program's main module again, which it does not need; Prefect's takes seconds.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        # The server that forks children takes over this mask: it imports torch for seconds before it ignores Ctrl-C.
        resource_tracker.ensure_running()  # when it starts it takes the mask off
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with loading_environment():
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            sys.modules["__main__"] = main
    return process


@contextmanager
def loading_environment() -> Iterator[None]:
    """Set what the libraries of stages read once, when the server that forks the stages loads them."""
    before = {name: os.environ.get(name) for name in (*SUMMING, *WAITING, *MEMORY)}
    own = {name: value for name, value in before.items() if value is not None}
    os.environ.update({**WAITING, **MEMORY, **own, **SUMMING})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@cache
def keep_memory() -> None:
    """Let this process keep memory as `MEMORY` says; what its environment says of it stays.

    For workers that Dask has started, which give it back after every large array (`MALLOC_TRIM_THRESHOLD_=65536`): the
    CRF took 618 ms an image there, and takes 188.  Without GNU's malloc nothing changes.
    """
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is not None and "MALLOC_MMAP_MAX_" not in os.environ:
        for name, parameter in MALLOPT.items():
            set_parameter(parameter, min(int(MEMORY[name]), LARGEST_INT))


@dataclass(frozen=True)
class _Worker:
    """A process, and the line to it."""

    process: ForkServerProcess
    line: Connection

    @classmethod
    def started(cls, order: Order) -> Self:
        ours, theirs = multiprocessing.get_context("forkserver").Pipe()
        process = start_process(_serve, (theirs, order), "shards", PRELOADED)
        theirs.close()
        return cls(process, ours)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.line.close()


class ProcessWorkers:
    """Processes with one shard each."""

    def __init__(self, order: Order, count: int) -> None:
        self._order, self.width = order, count
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Shard] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in (*self._idle, *self._busy):
            worker.end()

    def room(self) -> int:
        """One for each process without a shard."""
        return self.width - len(self._busy)

    def start(self, shard: Shard) -> None:
        """Hand a shard to an idle process, or to a new one."""
        worker = self._idle.pop() if self._idle else _Worker.started(self._order)
        self._busy[worker] = shard
        with suppress(OSError):  # it has died, as `wait` will find
            worker.line.send(shard)

    def wait(self) -> Ended:
        """The first shard that is done, or whose process has ended."""
        lines = {worker.line: worker for worker in self._busy}
        ready = multiprocessing.connection.wait(list(lines))[0]
        worker = lines[ready]  # type: ignore[index]
        shard = self._busy.pop(worker)
        try:
            received: Answer = worker.line.recv()
        except (EOFError, OSError):
            worker.end()
            return Ended(shard, None, worker=f"process {worker.process.pid} ({_end_of(worker.process)})")
        self._idle.append(worker)
        return Ended(shard, received)


def _end_of(process: ForkServerProcess) -> str:
    code = process.exitcode or 0
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _serve(line: Connection, order: Order) -> None:
    """Body of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it decides what an interruption means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            line.send(answer(order, line.recv(), f"process {os.getpid()}"))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # only called in a child
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
