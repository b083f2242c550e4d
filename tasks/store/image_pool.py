"""Work on several images at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from tag2mask.tasks.store.journal import process_images
from tag2mask.tasks.store.runtime import StageRuntime

Job = TypeVar("Job")


def process_in_parallel(
    jobs: Mapping[str, Job],
    out: Path,
    work: Callable[[str, Job], list[Path]],
    runtime: StageRuntime,
    *,
    threads: bool = False,
) -> None:
    """Like `process_images`, with every image of a shard handed to one of the runtime's workers.

    Args:
        jobs: image id -> what `work` needs besides it; both are sent to another process, so they should be small.
        out: the stage's folder.
        work: writes the files of one image below `out` and returns their paths; a module's function or a partial of it.
        runtime: number of workers, and what `process_images` reads.  With one worker all is done in this process.
        threads: whether the workers are threads, which start at once, for work that lets go of Python's lock; else they
            are processes.
    """
    pool: Executor | None = None
    if runtime.workers > 1:
        workers = runtime.workers
        pool = ThreadPoolExecutor(workers) if threads else ProcessPoolExecutor(workers, get_context("spawn"))

    def process(part: list[str]) -> Iterator[tuple[str, list[Path]]]:
        chosen = [jobs[image_id] for image_id in part]
        results: Iterable[list[Path]] = map(work, part, chosen) if pool is None else pool.map(work, part, chosen)
        yield from zip(part, results, strict=True)

    try:
        process_images(list(jobs), out, process, runtime)
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
