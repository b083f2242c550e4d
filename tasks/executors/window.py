"""A sliding window of shards over workers: what is lost is done again elsewhere, what kills workers is named."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from tag2mask.configs.errors import UserError
from tag2mask.tasks.executors.work import Answer, Shard

log = logging.getLogger("tag2mask")
ALLOWED_LOSSES = 3
"""Workers that a shard may cost before its images are tried one by one, and that one image may cost before it is held
to be the cause; Dask's own number."""
AHEAD = 16
"""Shards for each worker that may be begun before the oldest one has ended: what comes in order is kept until then."""


class KillsWorkers(UserError, RuntimeError):
    """An image ends the workers that work on it; the message names it."""


@dataclass(frozen=True)
class Ended:
    """A shard that a worker is done with."""

    shard: Shard
    answer: Answer | None
    """None: the worker was lost."""
    losses: int = 1
    """Workers that it cost, where it was lost."""
    worker: str = ""
    """Who was lost, if that is known, and how."""


class Workers(Protocol):
    """Who shards are handed to."""

    def __enter__(self) -> Self:
        """Be ready."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no shard at work."""

    @property
    def width(self) -> int:
        """How many work side by side."""

    def room(self) -> int:
        """Shards that can be handed out now."""

    def start(self, shard: Shard) -> None:
        """Hand a shard out."""

    def wait(self) -> Ended:
        """Wait for a shard that was handed out."""


@dataclass
class Window:
    """The shards at work."""

    workers: Workers
    set_aside: Callable[[str], Any] | None = None
    """Image id -> the result of an image that kills workers; without it that is an error."""
    losses: Counter[Shard] = field(default_factory=Counter)
    done_by: Counter[str] = field(default_factory=Counter)
    """Worker -> images that it did."""
    _again: deque[tuple[int, Shard]] = field(default_factory=deque)
    _at_work: dict[Shard, int] = field(default_factory=dict)
    """Shard -> its number; the parts of a shard that was cut up share theirs."""

    def results(self, shards: Iterable[Shard]) -> Generator[tuple[str, Any], None, None]:
        """(id, result) as they come; what is at work when the work raises an error is waited for, and counts.

        Raises:
            KillsWorkers: an image ends all workers that work on it, and is not to be set aside.
            Whatever the work raises.
        """
        waiting = enumerate(shards)
        following = next(waiting, None)
        error: Exception | None = None
        while True:
            while error is None and self.workers.room() > 0:
                if self._again:
                    number, shard = self._again.popleft()
                elif following is not None and following[0] - self._oldest(following[0]) <= AHEAD * self.workers.width:
                    number, shard = following
                    following = next(waiting, None)
                else:
                    break
                self._at_work[shard] = number
                self.workers.start(shard)
            if not self._at_work:
                break
            ended = self.workers.wait()
            number = self._at_work.pop(ended.shard)
            if ended.answer is not None:
                yield from self._answered(ended.answer)
                error = error or ended.answer.error
            elif error is None:
                error = self._lost(number, ended)
                if error is not None and self.set_aside is not None:
                    (image_id,), error = ended.shard, None
                    yield image_id, self.set_aside(image_id)
        self._end(error, left=following is not None)

    def _end(self, error: Exception | None, *, left: bool) -> None:
        """Raise the error; or one that says that nobody took what is left."""
        if error is None and (left or self._again):
            error = RuntimeError("no worker takes the images that are left: start workers, and run again")
        if error is not None:
            raise error

    def _oldest(self, otherwise: int) -> int:
        """Number of the oldest shard at work."""
        return min(self._at_work.values(), default=otherwise)

    def _answered(self, answer: Answer) -> Iterator[tuple[str, Any]]:
        for name, level, message in answer.log:
            logging.getLogger(name).log(level, "%s", message)
        self.done_by[answer.worker] += len(answer.results)
        yield from answer.results

    def _lost(self, number: int, ended: Ended) -> KillsWorkers | None:
        """Hand the images of a lost worker out again; or the error that names the one that is to blame."""
        shard, self.losses[ended.shard] = ended.shard, self.losses[ended.shard] + ended.losses
        whom, what = ended.worker or "a worker", f"{len(shard)} images from {shard[0]} on"
        if self.losses[shard] < ALLOWED_LOSSES:
            log.warning("%s was lost; %s are done elsewhere", whom, what)
            self._again.append((number, shard))
        elif len(shard) > 1:
            log.warning("%s was lost, as others before it, on %s: they are tried one by one", whom, what)
            self._again.extend((number, (image_id,)) for image_id in shard)
        else:
            return KillsWorkers(
                f"image {shard[0]}: {self.losses[shard]} workers ended while they worked on it alone (last: {whom}); "
                "give workers more memory, or take the image out of the dataset; on_bad_image: skip sets aside what "
                "ends a worker while it is indexed"
            )
        return None

    def log_shares(self, what: str) -> None:
        """Log who did how much of what."""
        whole = ", ".join(f"{worker} {count}" for worker, count in sorted(self.done_by.items()))
        log.info("%s: %d images by %d workers: %s", what, self.done_by.total(), len(self.done_by), whole)
