"""What happens in a stage's own process: torch is set up, the stage runs, and all it says goes to the parent.

Messages, each a tuple: ("progress", done, total, note), ("log", logger, level, text), and at the end ("done",) or
("failed", message, type's name, traceback).
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from tag2mask.configs.runtime import Executor, Precision
from tag2mask.configs.sections.section import Section
from tag2mask.tasks.building.build import Order, build
from tag2mask.tasks.store.runtime import Cluster, StageRuntime

JOURNAL_SECONDS = 1.0
"""Shortest time between two journal entries of a stage: a crash makes the next attempt repeat no more than that."""
REPORT_SECONDS = 0.2
"""Shortest time between two messages of progress."""
Report = Callable[[int, int, str], None]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """An order and the resources to build it with."""

    order: Order
    device: str
    """`auto`, `cpu` or `cuda`."""
    precision: Precision
    """Of the forward pass in training; `auto` is settled in the stage's process, where torch is."""
    threads: int
    """Cores that the stage may use."""
    shard: int
    """Images between two journal entries."""
    checkpoint_seconds: float
    """Between two checkpoints of a training."""
    executor: Executor = "here"
    devices: int = 1
    """Processes of a training."""
    machines: str = ""
    """Of a training; see `Runtime`."""
    cluster: Cluster | None = None
    """Of the executor `dask`."""
    logs_precision: bool = False
    """Whether it logs the precision that was chosen, and why: the first training of a run, and of those that change
    their backbone."""


def work(job: Job, sender: Connection) -> None:
    """Body of the stage's process: builds the order, and sends the messages above until it ends or its parent does."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _Forwarder(sender).install()
    try:
        build(job.order, stage_runtime(job, _device(job), _throttled(sender)))
    except BaseException as error:
        sender.send(("failed", str(error), type(error).__name__, traceback.format_exc()))
    else:
        sender.send(("done",))


def _device(job: Job) -> str:
    """Where networks run: in this process, or on the cluster's workers."""
    if job.cluster is None:
        return prepare_torch(job.device, job.threads)
    from tag2mask.tasks.executors.dask_workers import device_of_workers

    prepare_torch("cpu", job.threads)
    return device_of_workers(job.cluster, job.device)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # only called in a child
    parent.join()
    os.killpg(0, signal.SIGKILL)


def prepare_torch(device: str, threads: int) -> str:
    """Set threads and determinism; the device to use, `cpu` or `cuda`.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: of torch.

    Raises:
        ValueError: a GPU is asked for, and there is none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: deterministic matrix products
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("device 'cuda' was asked for, but torch finds no GPU: use --device cpu or --device auto")
    return "cuda" if available and device != "cpu" else "cpu"


def stage_runtime(job: Job, device: str, report: Report) -> StageRuntime:
    """The resources of a job as its stage gets them; it works on as many images at once as it has threads."""
    return StageRuntime(
        device=device,
        precision=_settled_precision(job, device),
        threads=job.threads,
        executor=job.executor,
        workers=job.threads,
        devices=job.devices,
        machines=job.machines,
        cluster=job.cluster,
        shard=job.shard,
        journal_seconds=JOURNAL_SECONDS,
        checkpoint_seconds=job.checkpoint_seconds,
        report=report,
    )


def _settled_precision(job: Job, device: str) -> Literal["float32", "bfloat16"]:
    """The precision asked for, or what suits the device where that is `auto`."""
    if job.precision == "float32" and not job.logs_precision:
        return "float32"  # most stages: without torch
    from tag2mask.tasks.networks.precision import choose_precision

    choice = choose_precision(job.precision, device, wide_depthwise=lambda: _trains_wide(job))
    if job.logs_precision:
        logger.log(logging.WARNING if choice.is_emulated else logging.INFO, "precision: %s", choice)
    return choice.name


def _trains_wide(job: Job) -> bool:
    """Whether a training changes a backbone with depthwise convolutions above 3 x 3."""
    if not trains_backbone(job.order.config):
        return False
    import torch

    from tag2mask.tasks.networks.factory import backbone_network
    from tag2mask.tasks.networks.precision import has_wide_depthwise

    with torch.device("meta"):  # the kinds of its layers are enough
        return has_wide_depthwise(backbone_network(job.order.config.backbone))  # type: ignore[attr-defined]


def trains_backbone(config: Section) -> bool:
    """Whether a training by these settings changes its backbone's weights."""
    return hasattr(config, "backbone") and getattr(config, "backbone_factor", 1.0) > 0


def _throttled(sender: Connection) -> Report:
    """A report that sends at most five messages a second, and always the last one."""
    last = 0.0

    def report(done: int, total: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= REPORT_SECONDS:
            last = now
            sender.send(("progress", done, total, note))

    return report


class _Forwarder(logging.Handler):
    """Sends the child's log to the parent."""

    def __init__(self, sender: Connection) -> None:
        super().__init__()
        self.sender = sender

    def install(self) -> None:
        """Take over the loggers of the stages and the warnings of libraries."""
        logging.captureWarnings(True)
        for name, level in (("tag2mask", logging.INFO), ("py.warnings", logging.WARNING)):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [self], False
            logger.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "py.warnings":  # a library's advice to its developers: kept for --debug
            self._send("tag2mask.warnings", logging.DEBUG, record)
        else:
            self._send(record.name, record.levelno, record)

    def _send(self, name: str, level: int, record: logging.LogRecord) -> None:
        content: tuple[Any, ...] = ("log", name, level, record.getMessage())
        self.sender.send(content)
