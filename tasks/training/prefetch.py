"""Prepare the next batches while the network works on this one, and decode each image once.

Not torch's `DataLoader`: its workers would each keep decoded images of their own, where threads share one set; and a
batch that follows from its step alone needs no sampler's state in a checkpoint.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

CACHE_BYTES = 4 * 2**30
"""Decoded images kept in memory, at most; those beyond are decoded again at every sample."""
SHARE_OF_MEMORY = 8
"""On a small machine they take no more than one of so many parts of its memory."""


class Prefetch(Generic[T]):
    """Computes `load(step)` for the coming steps in threads.  What comes back depends on the step, not on timing."""

    def __init__(self, load: Callable[[int], T], steps: int, *, ahead: int = 3, threads: int = 2) -> None:
        self._load, self._steps, self._ahead = load, steps, ahead
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
        self._coming: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        """The batch of a step; errors of the loader are raised here."""
        for number in range(step, min(step + 1 + self._ahead, self._steps)):
            if number not in self._coming:
                self._coming[number] = self._pool.submit(self._load, number)
        return self._coming.pop(step).result()

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def most_bytes() -> int:
    """Bytes that decoded images may take on this machine."""
    return min(CACHE_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // SHARE_OF_MEMORY)


class DecodedImages:
    """Decoded and resized images, kept as uint8 up to `most_bytes`; what comes back does not depend on it."""

    def __init__(self, decode: Callable[[int], tuple[np.ndarray, ...]]) -> None:
        self._decode = decode
        self._kept: dict[int, tuple[np.ndarray, ...]] = {}
        self._bytes, self._most = 0, most_bytes()

    def __getitem__(self, number: int) -> tuple[np.ndarray, ...]:
        kept = self._kept.get(number)
        if kept is None:
            kept = self._decode(number)
            size = sum(array.nbytes for array in kept)
            if self._bytes + size <= self._most:
                self._kept[number] = kept
                self._bytes += size
        return kept
