"""Run a stage in a process of its own, so that its memory is returned, it can be stopped, and its crash is survived.

The processes are forked from a server that has imported torch already, so that a stage starts in milliseconds.  Each
leads its own process group: whoever stops it stops its workers too.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from types import ModuleType

from tag2mask.flows.dag.errors import StageFailed, Stopped
from tag2mask.flows.engine.stage_process import REPORT_SECONDS, Job, Report, equipment, work
from tag2mask.tasks.building.build import build

PRELOADED = [
    *("torch", "torchvision", "timm", "pandas", "scipy.ndimage", "PIL.Image"),
    *("tag2mask.tasks.building.build", "tag2mask.configs.schema", "tag2mask.tasks.networks.factory"),
]
"""What most stages import: done once a run, it is not done in each of thirty processes."""
SUMMING = {"OPENBLAS_NUM_THREADS": "1"}
"""Of BLAS: one thread, so that sums do not depend on the machine."""
WAITING = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
"""Of OpenMP, GNU's and LLVM's: threads that wait for each other sleep.  Spinning, the default, keeps a core from
whoever they wait for where stages or other programs share the cores.  What the user has set stays."""
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736", "MALLOC_TOP_PAD_": "67108864"}
"""Of GNU's malloc: memory that a layer's output leaves is kept for the next one.  By default each large output is
mapped anew and its pages are cleared one by one, which takes longer than the layer (EfficientNet-Lite0, 16 images of
320 pixels, one AVX2 thread: 149 ms an image, 53 ms with this).  What the user has set stays."""
_starting = threading.Lock()


def run_in_child(job: Job, report: Report, stop: threading.Event) -> None:
    """Carry out a job in another process and wait for it.  Its log comes out of this process's loggers.

    Raises:
        StageFailed: the stage raised an error, or its process was killed.
        Stopped: `stop` was set; the process is gone, its finished work stays in the store.
    """
    process, receiver = _start(job)
    try:
        failure = _listen(process, receiver, report, stop)
    finally:
        _kill_group(process)
        process.join()
        receiver.close()
    if failure is not None:
        raise failure


def run_here(job: Job, report: Report, stop: threading.Event) -> None:
    """Carry out a job in this process, for tests and debuggers.

    Raises:
        StageFailed: the stage raised an error.
        Stopped: `stop` was set before it began.
    """
    if stop.is_set():
        raise Stopped(f"{job.order.recipe.stage} was not started")
    try:
        build(job.order, equipment(job, "cpu", report))
    except Exception as error:
        raise StageFailed(str(error), type(error).__name__, traceback.format_exc()) from error


def _start(job: Job) -> tuple[ForkServerProcess, Connection]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(job, sender), name=job.order.recipe.stage)
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
    sender.close()
    return process, receiver


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


def _listen(
    process: ForkServerProcess, receiver: Connection, report: Report, stop: threading.Event
) -> StageFailed | None:
    """Pass on what the child says until it ends; its failure, if it failed."""
    while not stop.is_set():
        multiprocessing.connection.wait([receiver, process.sentinel], timeout=REPORT_SECONDS)
        if not receiver.poll():
            if process.exitcode is None:
                continue
            if not receiver.poll():  # nothing came between the two looks
                return _killed(process.exitcode)
        try:
            kind, *content = receiver.recv()
        except EOFError:
            process.join(5)
            return _killed(process.exitcode)
        if kind == "progress":
            report(*content)
        elif kind == "log":
            _log(*content)
        elif kind == "failed":
            return StageFailed(*content)
        else:
            return None
    raise Stopped(f"{process.name} was stopped; its finished work is kept")


def _log(name: str, level: int, message: str) -> None:
    logging.getLogger(name).log(level, "%s", message)


def _killed(exitcode: int | None) -> StageFailed:
    if exitcode is None or exitcode >= 0:
        return StageFailed(f"its process ended with code {exitcode} without a result", "NoResult")
    name = signal.Signals(-exitcode).name
    reason = ": the machine's memory may have run out" if name == "SIGKILL" else ""
    return StageFailed(f"its process was killed by {name}{reason}", name)


def _kill_group(process: ForkServerProcess) -> None:
    """End the process and the workers it started; a no-op for one that has ended without leaving any."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
