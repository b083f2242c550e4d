"""Run a stage in a process of its own, so that its memory is returned, it can be stopped, and its crash is survived.

The processes are forked from a server that has imported torch already, so that a stage starts in milliseconds.  Each
leads its own process group: whoever stops it stops its workers too.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from tag2mask.flows.dag.errors import StageFailed, Stopped
from tag2mask.flows.engine.stage_process import REPORT_SECONDS, Job, Report, stage_runtime, work
from tag2mask.tasks.building.build import build
from tag2mask.tasks.executors.processes import PRELOADED as LIBRARIES
from tag2mask.tasks.executors.processes import start_process

PRELOADED = [*LIBRARIES, "tag2mask.tasks.building.build", "tag2mask.tasks.networks.factory"]
"""What most stages import: done once a run, it is not done in each of thirty processes."""


def run_in_child(job: Job, report: Report, stop: threading.Event) -> None:
    """Run a job in another process and wait for it.  Its log comes out of this process's loggers.

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
    """Run a job in this process, for tests and debuggers.

    Raises:
        StageFailed: the stage raised an error.
        Stopped: `stop` was set before it began.
    """
    if stop.is_set():
        raise Stopped(f"{job.order.recipe.stage} was not started")
    try:
        build(job.order, stage_runtime(job, "cpu", report))
    except Exception as error:
        raise StageFailed(str(error), type(error).__name__, traceback.format_exc()) from error


def _start(job: Job) -> tuple[ForkServerProcess, Connection]:
    receiver, sender = multiprocessing.get_context("forkserver").Pipe(duplex=False)
    process = start_process(work, (job, sender), job.order.recipe.stage, PRELOADED)
    sender.close()
    return process, receiver


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
