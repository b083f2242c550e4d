"""Work on images, handed to the run's executor: what every stage calls that looks at images one by one.

- `here`: threads of the stage's process; processes for work that holds Python's lock.
- `processes`: processes of this machine.
- `dask`: the workers of a Dask cluster.

Bytes do not depend on which it is, nor on how many work side by side: each worker computes in one thread, and the image
decides its result alone.  Only the stage's process journals.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from tag2mask.configs.errors import UserError
from tag2mask.tasks.executors.fellows import origin
from tag2mask.tasks.executors.processes import ProcessWorkers
from tag2mask.tasks.executors.threads import ThreadWorkers
from tag2mask.tasks.executors.window import Window, Workers
from tag2mask.tasks.executors.work import OpenWork, Order, Shard, compute_alone
from tag2mask.tasks.store.digests import batched
from tag2mask.tasks.store.journal import FactsOf, journal_images, no_facts
from tag2mask.tasks.store.runtime import StageRuntime

SHARDS_A_WORKER = 4
"""At least, so that all have something to do up to the end."""


class NoDask(UserError, RuntimeError):
    """The package's extra for Dask is not installed."""

    @classmethod
    def because(cls, error: ImportError) -> Self:
        """What to do about a package that is missing."""
        return cls(f"the executor `dask` needs more packages ({error}): in tag2mask's folder, pip install -e '.[dask]'")


def process_images(
    image_ids: Sequence[str],
    out: Path,
    process: Callable[[list[str]], Iterator[tuple[str, list[Path]]]],
    runtime: StageRuntime,
    facts: FactsOf = no_facts,
) -> None:
    """Like `journal_images`, shard by shard in this process.

    Args:
        image_ids: ids to process, in order.
        out: the stage's folder.
        process: takes the ids of a shard, writes their files below `out`, yields (id, paths written).
        runtime: hands out `shard` images at once (a crash makes the next attempt repeat fewer, or what took
            `journal_seconds`).
        facts: see `journal_images`.

    Raises:
        NoRoomOnDisk: the disk is full; what is journaled is kept.
    """

    def make(pending: list[str]) -> Generator[tuple[str, list[Path]], None, None]:
        for part in batched(pending, runtime.shard):
            yield from process(part)

    journal_images(image_ids, out, make, runtime, facts)


def process_in_parallel(
    image_ids: Sequence[str],
    out: Path,
    open_work: OpenWork,
    runtime: StageRuntime,
    *,
    network: bool = False,
    holds_lock: bool = False,
) -> None:
    """Make the files of images, leaving out what is done already; a crash repeats no more than what is at work.

    Args:
        image_ids: ids to process, in order.
        out: the stage's folder.
        open_work: its process takes the ids of a shard, writes their files below `out`, and yields (id, paths written).
        runtime: executor, workers, shard, and what `process_images` reads.
        network: whether torch is at work, on a GPU where there is one.
        holds_lock: whether the work holds Python's lock, so that threads would wait for each other.

    Raises:
        NoRoomOnDisk: the disk is full; what is journaled is kept.
        KillsWorkers: an image ends the workers that work on it.
        UnlikeWorker, LostCluster: of Dask.
        Whatever the work raises.
    """
    make = partial(shard_results, out=out, open_work=open_work, runtime=runtime, network=network, holds_lock=holds_lock)
    journal_images(image_ids, out, make, runtime)


def map_in_parallel(
    items: Sequence[str], out: Path, open_work: OpenWork, runtime: StageRuntime
) -> Iterator[tuple[str, Any]]:
    """(id, result) of all items in their order, whoever comes first; results are kept nowhere.

    Args:
        items: ids.
        out: the stage's folder.
        open_work: its process takes the ids of a shard and yields (id, result).
        runtime: executor, workers, shard, progress.

    Raises:
        As `process_in_parallel`.
    """
    places = {item: place for place, item in enumerate(items)}
    early: dict[int, tuple[str, Any]] = {}
    done = 0
    with closing(shard_results(items, out=out, open_work=open_work, runtime=runtime)) as found:
        for count, pair in enumerate(found, start=1):
            runtime.progress(count, len(items))
            early[places[pair[0]]] = pair
            while done in early:
                yield early.pop(done)
                done += 1


def shard_results(
    image_ids: Sequence[str],
    *,
    out: Path,
    open_work: OpenWork,
    runtime: StageRuntime,
    network: bool = False,
    holds_lock: bool = False,
    set_aside: Callable[[str], Any] | None = None,
) -> Generator[tuple[str, Any], None, None]:
    """(id, result) of images as they come.

    Args:
        image_ids: ids.
        out: the stage's folder.
        open_work: its process takes the ids of a shard and yields (id, result).
        runtime: executor, workers, shard.
        network: see `process_in_parallel`.
        holds_lock: likewise.
        set_aside: image id -> the result of an image that ends all workers that work on it; without it an error.

    Raises:
        As `process_in_parallel`.
    """
    if not image_ids:
        return
    on_gpu = network and runtime.device == "cuda"
    if runtime.executor == "here" and (runtime.workers == 1 or on_gpu):
        with _one_thread(network):
            process = open_work(runtime.device)
            for some in batched(image_ids, runtime.shard):
                yield from process(some)
        return
    with ExitStack() as held:
        workers = held.enter_context(_workers(out, open_work, runtime, network=network, holds_lock=holds_lock))
        held.enter_context(_one_thread(network))
        size = runtime.shard  # a GPU's batches are cut the same by any number of workers
        if not on_gpu:
            size = max(1, min(size, len(image_ids) // (SHARDS_A_WORKER * workers.width)))
        window = Window(workers, set_aside)
        shards: Iterator[Shard] = (tuple(some) for some in batched(image_ids, size))
        yield from held.enter_context(closing(window.results(shards)))
        if runtime.executor != "here":
            window.log_shares(out.parent.name)  # a stage writes below <stage>/<key>


@contextmanager
def _workers(
    out: Path, open_work: OpenWork, runtime: StageRuntime, *, network: bool, holds_lock: bool
) -> Iterator[Workers]:
    """The executor's workers."""
    workers: Workers
    if runtime.executor == "dask":
        with _dask(out, open_work, runtime, network=network) as workers:
            yield workers
    elif runtime.executor == "processes" or holds_lock:
        count = 1 if network and runtime.device == "cuda" else runtime.workers
        with ProcessWorkers(Order(open_work, runtime.device, network), count) as workers:
            yield workers
    else:
        with _one_thread(network):
            process = open_work(runtime.device)
        with ThreadWorkers(process, runtime.workers, network=network) as workers:
            yield workers


@contextmanager
def _dask(out: Path, open_work: OpenWork, runtime: StageRuntime, *, network: bool) -> Iterator[Workers]:
    try:
        from tag2mask.tasks.executors.dask_workers import DaskWorkers, inputs_of
    except ImportError as error:
        raise NoDask.because(error) from error
    assert runtime.cluster is not None  # settled when the run began
    inputs = inputs_of(open_work.keywords) if isinstance(open_work, partial) else ()
    with (
        origin(out, inputs) as seen,
        DaskWorkers(runtime.cluster, Order(open_work, runtime.device, network), seen) as workers,
    ):
        yield workers


@contextmanager
def _one_thread(network: bool) -> Iterator[None]:
    """Compute in one thread, as every worker does, and leave this process's number of threads as it was."""
    if not network:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    compute_alone()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
