"""Shards on threads of this process, for work that lets go of Python's lock."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from tag2mask.tasks.executors.window import Ended
from tag2mask.tasks.executors.work import Answer, Process, Shard, compute_alone


class ThreadWorkers:
    """Threads that share one opened work."""

    def __init__(self, process: Process, count: int, *, network: bool) -> None:
        self._process, self.width, self._network = process, count, network
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="shard")
        self._running: dict[Future[Answer], Shard] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def room(self) -> int:
        """One for each thread without a shard."""
        return self.width - len(self._running)

    def start(self, shard: Shard) -> None:
        """Hand a shard out."""
        self._running[self._pool.submit(self._answer, shard)] = shard

    def wait(self) -> Ended:
        """A shard that is done."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        future = next(iter(done))
        return Ended(self._running.pop(future), future.result())

    def _answer(self, shard: Shard) -> Answer:
        compute_alone(network=self._network)  # torch keeps the number of threads for each thread that calls it
        results = []
        try:
            for pair in self._process(shard):
                results.append(pair)
        except Exception as error:
            return Answer("this process", tuple(results), error)
        return Answer("this process", tuple(results))
