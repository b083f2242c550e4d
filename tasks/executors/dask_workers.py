"""Shards on the workers of a Dask cluster.

Each stage is a client of its own: it goes, by whatever way, and the scheduler drops its shards.
"""

import queue
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distributed import Client, Future, KilledWorker, Security, get_worker

from tag2mask.configs.errors import UserError
from tag2mask.tasks.executors.fellows import Origin, UnlikeWorker, check_this_process, fault_of_this_process
from tag2mask.tasks.executors.processes import keep_memory
from tag2mask.tasks.executors.window import ALLOWED_LOSSES, Ended
from tag2mask.tasks.executors.work import Answer, Order, Shard, answer
from tag2mask.tasks.store.runtime import Cluster

CONNECT_SECONDS = 60.0
"""Time that a scheduler is given to answer: it may stand on a machine that has much to do."""
WORKERS_SECONDS = 60.0
"""Time that a cluster without any worker is waited for."""
LOOK_SECONDS = 2.0
"""Time between two looks at scheduler and workers."""
SHARDS_A_WORKER = 2
"""One at work, and one that is there when it is done."""


class LostCluster(UserError, RuntimeError):
    """Scheduler or workers of a Dask cluster cannot be reached, or not any more."""


def connect(cluster: Cluster) -> Client:
    """A client of a cluster.

    Raises:
        LostCluster: nobody answers there.
    """
    security = Security(require_encryption=True, **cluster.credentials) if cluster.credentials else None
    try:
        return Client(cluster.address, timeout=CONNECT_SECONDS, set_as_default=False, security=security)
    except (OSError, TypeError, ValueError) as error:
        raise LostCluster(
            f"no Dask scheduler answers at {cluster.address} ({error}): start one (`dask scheduler`) with workers "
            "(`dask worker`), or name another with --dask"
        ) from error


def workers_of(client: Client, address: str) -> dict[str, dict[str, Any]]:
    """Address -> what the scheduler knows of each worker, waited for where there is none yet.

    Raises:
        LostCluster: there is none.
    """
    until = time.monotonic() + WORKERS_SECONDS
    while True:
        found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
        if found:
            return found
        if time.monotonic() > until:
            raise LostCluster(f"the Dask cluster at {address} has no worker: start some and run again")
        time.sleep(0.2)


def device_of_workers(cluster: Cluster, asked: str) -> str:
    """Where networks run: on the GPUs of those workers that say that they have one, else on all workers' CPUs.

    Args:
        cluster: the cluster.
        asked: `auto`, `cpu` or `cuda`.

    Raises:
        LostCluster: nobody answers, or no worker has what is asked for.
    """
    if asked == "cpu":
        return "cpu"
    with connect(cluster) as client:
        found = workers_of(client, cluster.address)
    if any(has_gpu(worker) for worker in found.values()):
        return "cuda"
    if asked == "cuda":
        raise LostCluster(
            f"device 'cuda' was asked for, but none of the {len(found)} workers at {cluster.address} says that it has "
            "a GPU: start them with `dask worker --resources GPU=1`, or use --device cpu"
        )
    return "cpu"


def has_gpu(worker: Mapping[str, Any]) -> bool:
    """Whether a worker says that it has a GPU."""
    return bool(worker.get("resources", {}).get("GPU", 0) > 0)


def run_shard(order: Order, shard: Shard, seen: Origin) -> Answer:
    """Body of a task: what a worker of Dask does with a shard."""
    check_this_process(seen)  # also those that came later
    keep_memory()
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    return answer(order, shard, f"{worker.address} ({socket.gethostname()})", wanted)


class DaskWorkers:
    """The workers of a cluster."""

    def __init__(self, cluster: Cluster, order: Order, seen: Origin) -> None:
        self._cluster, self._order, self._seen = cluster, order, seen
        self._wants = {"GPU": 1.0} if order.network and order.device == "cuda" else {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._running: dict[Future, Shard] = {}
        self._started, self._seen_at, self._alone_since = 0, 0.0, 0.0
        self.width = 0

    def __enter__(self) -> Self:
        self._client = connect(self._cluster)
        try:
            self._check_workers()
        except BaseException:
            self._client.close(timeout=LOOK_SECONDS)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client.status == "running" and self._running:
            self._client.cancel(list(self._running), force=True)
        self._client.close(timeout=LOOK_SECONDS)

    def room(self) -> int:
        """Two for each worker, less those at work."""
        return SHARDS_A_WORKER * self.width - len(self._running)

    def start(self, shard: Shard) -> None:
        """Hand a shard out."""
        self._started += 1
        future = self._client.submit(
            run_shard,
            self._order,
            shard,
            self._seen,
            key=f"{self._seen.token.parents[1].parent.name}-{self._seen.token.name}-{self._started}",
            resources=self._wants or None,
            pure=False,
        )
        self._watch(future, shard)

    def wait(self) -> Ended:
        """The first shard that is done, or that has cost as many workers as Dask allows.

        Raises:
            LostCluster: the scheduler is gone, or all workers are.
        """
        while True:
            try:
                future = self._ended.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if future not in self._running:
                continue
            shard = self._running.pop(future)
            if future.status == "finished":
                received: Answer = future.result()
                future.release()
                self._count_workers()
                return Ended(shard, received)
            if future.status == "lost":  # with the worker that had just done it; the scheduler has it done again
                self._watch(future, shard)
                continue
            error = future.exception() if future.status == "error" else None
            if isinstance(error, KilledWorker):
                future.release()
                return Ended(shard, None, losses=ALLOWED_LOSSES, worker=str(error.last_worker.address))
            if isinstance(error, Exception):
                raise error
            raise self._lost()

    def _watch(self, future: Future, shard: Shard) -> None:
        """Have a shard's future put into the queue when it is done."""
        self._running[future] = shard
        future.add_done_callback(self._ended.put)

    def _look(self) -> None:
        """Whether anybody is still there."""
        if self._client.status != "running":
            raise self._lost()
        if self._count_workers():
            self._alone_since = 0.0
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > WORKERS_SECONDS:
            raise LostCluster(
                f"the Dask cluster at {self._cluster.address} has lost all its workers: start some and run again; "
                "finished work is kept"
            )

    def _count_workers(self) -> int:
        """Take in who came and went."""
        now = time.monotonic()
        if now - self._seen_at > LOOK_SECONDS:
            self._seen_at = now
            try:
                workers = self._client.scheduler_info(n_workers=-1)["workers"]
            except OSError as error:
                raise self._lost() from error
            fitting = [one for one in workers.values() if not self._wants or has_gpu(one)]
            self.width = sum(1 if self._wants else one["nthreads"] for one in fitting) or self.width
            return len(fitting)
        return self.width

    def _lost(self) -> LostCluster:
        return LostCluster(
            f"the Dask scheduler at {self._cluster.address} does not answer any more: start it and its workers again, "
            "then run again; finished work is kept"
        )

    def _check_workers(self) -> None:
        """Refuse workers that are no fellows, before any work."""
        workers_of(self._client, self._cluster.address)
        faults = self._client.run(fault_of_this_process, self._seen, on_error="return")
        # a worker that was lost just now is no stranger; whoever comes in its place is asked with its first shard
        lost = {who for who, fault in faults.items() if isinstance(fault, OSError)}
        wrong = {who: fault for who, fault in faults.items() if fault and who not in lost}
        if wrong:
            who, fault = next(iter(wrong.items()))
            if isinstance(fault, Exception):
                fault = f"cannot load tag2mask as it is here ({fault}): install the same release on both"
            more = f" (and {len(wrong) - 1} more of {len(faults)})" if len(wrong) > 1 else ""
            raise UnlikeWorker(f"the worker {who} {fault}{more}")
        if not self._count_workers():
            what = "no worker with a GPU any more" if self._wants else "no worker any more"
            raise LostCluster(f"the Dask cluster at {self._cluster.address} has {what}: start some and run again")


def inputs_of(keywords: Mapping[str, Any]) -> tuple[Path, ...]:
    """The paths among what a work is given."""
    inner = [value.keywords for value in keywords.values() if isinstance(value, partial)]
    own = [value for value in keywords.values() if isinstance(value, Path)]
    return (*own, *(path for one in inner for path in inputs_of(one)))
