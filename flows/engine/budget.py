"""Cores, handed out to stages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tag2mask.flows.dag.errors import Stopped


class CoreBudget:
    """Cores (and places) handed out to stages: the first in the DAG's order that fits is served first."""

    def __init__(self, cores: int, places: int = 0) -> None:
        self.cores = cores
        self.places = places or cores
        self.waiting: dict[int, int] = {}
        self.changed = threading.Condition()
        self.stopped = False

    @contextmanager
    def share(self, cores: int, rank: int) -> Iterator[None]:
        """Hold some cores.

        Raises:
            Stopped: the run was stopped while waiting.
        """
        with self.changed:
            self.waiting[rank] = cores
            self.changed.wait_for(lambda: self.stopped or self._next() == rank)
            del self.waiting[rank]
            if self.stopped:
                raise Stopped("the run was stopped")
            self.cores -= cores
            self.places -= 1
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.cores += cores
                self.places += 1
                self.changed.notify_all()

    def _next(self) -> int | None:
        fitting = [rank for rank, cores in self.waiting.items() if cores <= self.cores and self.places > 0]
        return min(fitting, default=None)

    def stop(self) -> None:
        """Let nobody start any more."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
