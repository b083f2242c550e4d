"""Prefetching: what comes back depends on the step alone."""

import os
import threading
import time

import numpy as np
import pytest

from tag2mask.tasks.training import prefetch
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch


def test_every_step_gets_its_own_batch() -> None:
    """Steps come back right although some load slower than those behind them, and each is loaded once."""
    loaded: list[int] = []

    def load(step: int) -> int:
        time.sleep(0.01 if step % 3 == 0 else 0)
        loaded.append(step)
        return 10 * step

    batches = Prefetch(load, 20)
    assert [batches(step) for step in range(20)] == [10 * step for step in range(20)]
    assert sorted(loaded) == list(range(20))
    batches.close()


def test_a_resumed_training_may_start_anywhere() -> None:
    """The first step asked for may be any, and nothing before it is loaded."""
    loaded: list[int] = []
    batches = Prefetch(lambda step: loaded.append(step) or step, 9)  # type: ignore[func-returns-value]
    assert [batches(step) for step in range(6, 9)] == [6, 7, 8]
    assert sorted(loaded) == [6, 7, 8]
    batches.close()


def test_no_more_than_agreed_is_loaded_ahead() -> None:
    """While a step is worked on, only the next few are loaded."""
    loaded: set[int] = set()
    enough = threading.Event()

    def load(step: int) -> int:
        loaded.add(step)
        if len(loaded) == 3:
            enough.set()
        return step

    batches = Prefetch(load, 100, ahead=2)
    batches(0)
    assert enough.wait(10)
    time.sleep(0.05)
    assert loaded == {0, 1, 2}
    batches.close()


def test_errors_come_up_at_their_step() -> None:
    """A loader's error is raised where its step is asked for, not before and not instead of another's batch."""

    def load(step: int) -> int:
        if step == 2:
            raise OSError("scene.jpg is broken")
        return step

    batches = Prefetch(load, 4)
    assert [batches(0), batches(1)] == [0, 1]
    with pytest.raises(OSError, match="scene.jpg is broken"):
        batches(2)
    assert batches(3) == 3
    batches.close()


def test_closing_ends_the_threads() -> None:
    """After closing no loading thread is left."""
    before = set(threading.enumerate())
    batches = Prefetch(lambda step: step, 5)
    batches(0)
    assert set(threading.enumerate()) - before
    batches.close()
    assert not set(threading.enumerate()) - before


def test_images_are_decoded_once() -> None:
    """An image asked for again is not decoded again, and is the same."""
    decoded: list[int] = []

    def decode(number: int) -> tuple[np.ndarray, ...]:
        decoded.append(number)
        return (np.full((4, 4), number, np.uint8),)

    images = DecodedImages(decode)
    for number in (3, 5, 3, 3, 5):
        assert (images[number][0] == number).all()
    assert decoded == [3, 5]


@pytest.mark.parametrize(("gigabytes", "kept"), [(8, 1), (32, 4), (512, 4)])
def test_a_small_machine_keeps_fewer_images(monkeypatch: pytest.MonkeyPatch, gigabytes: int, kept: int) -> None:
    """Decoded images take an eighth of the machine's memory, and 4 GiB at most."""
    memory = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gigabytes * 2**30 // 4096}
    monkeypatch.setattr(os, "sysconf", memory.__getitem__)
    assert prefetch.most_bytes() == kept * 2**30


def test_an_eighth_of_the_memory_is_all_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for two images a third is decoded again, and comes back the same."""
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 64, "SC_PHYS_PAGES": 5}.__getitem__)
    decoded: list[int] = []

    def decode(number: int) -> tuple[np.ndarray, ...]:
        decoded.append(number)
        return (np.full((4, 4), number, np.uint8),)

    images = DecodedImages(decode)
    assert [int(images[number][0].max()) for number in (0, 1, 2, 0, 1, 2)] == [0, 1, 2, 0, 1, 2]
    assert decoded == [0, 1, 2, 2]


def test_what_does_not_fit_into_memory_is_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit images are decoded at every sample, and those kept stay kept."""
    monkeypatch.setattr(prefetch, "CACHE_BYTES", 40)
    decoded: list[int] = []

    def decode(number: int) -> tuple[np.ndarray, ...]:
        decoded.append(number)
        return (np.full((4, 4), number, np.uint8),)

    images = DecodedImages(decode)
    for number in (0, 1, 2, 0, 1, 2):
        assert (images[number][0] == number).all()
    assert decoded == [0, 1, 2, 2]
