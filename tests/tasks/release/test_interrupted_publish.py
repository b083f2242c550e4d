"""Publishing that is killed, or done by several processes at once."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tag2mask.tasks.release.releases import read_release, release_faults
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_store import LABELS, LENIENT, OTHER, draft_of, published, toy

TRACED = ((os, "rename"), (os, "replace"), (os, "symlink"), (os, "fsync"), (shutil, "copyfile"), (shutil, "rmtree"))
"""What changes the disk, or makes it last."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def in_child(work: Callable[[], object]) -> int:
    """Do work in a forked process; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, work: Callable[[], object]) -> int:
    """Do work in a child that is killed just before its step of that number; -9, or 0 where it has fewer steps."""

    def traced() -> None:
        steps = 0

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal steps
                steps += 1
                if steps == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        for module, name in TRACED:
            setattr(module, name, wrap(getattr(module, name)))
        work()

    return in_child(traced)


@pytest.mark.parametrize("state", ["release", "candidate"])
def test_a_kill_at_any_moment_leaves_no_half_release_and_a_valid_latest(store: Store, state: str) -> None:
    """Whatever step of a publication is the last, releases are whole, `latest` is valid, and repeating completes it."""
    rules = LENIENT if state == "release" else LENIENT.replaced(required=("miou",))
    published(store, draft_of(store, LABELS, LABELS))
    step, ending = 0, -signal.SIGKILL
    while ending == -signal.SIGKILL:
        step += 1
        marked = LABELS["p05"].copy()
        marked.flat[:step] = 1  # labels that no step before had
        draft = draft_of(store, {**LABELS, "p05": marked}, LABELS)
        before = toy(store).numbers()
        ending = killed_at(step, lambda draft=draft: published(store, draft, rules))  # type: ignore[misc]
        assert ending in (0, -signal.SIGKILL)
        assert release_faults(store) == [], step
        assert toy(store).latest() in toy(store).numbers()
        assert set(toy(store).numbers()) - set(before) <= {len(before) + 1}
        published(store, draft, rules)
        assert release_faults(store) == []
        if state == "release":
            assert toy(store).latest() == toy(store).numbers()[-1] == len(before) + 1, step
        else:
            assert toy(store).numbers() == [1]
            assert toy(store).candidates()[-1].manifest["digest"] == draft.digest()
    assert step > 10


def test_publishers_at_once_do_not_collide(store: Store) -> None:
    """Four publishers of two label sets make two releases, each whole, and `latest` points to one of them."""
    drafts = [draft_of(store, LABELS, LABELS), draft_of(store, OTHER, LABELS)] * 2
    children = []
    for draft in drafts:
        child = os.fork()
        if child == 0:
            try:
                published(store, draft)
                os._exit(0)
            except BaseException:
                os._exit(9)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert toy(store).numbers() == [1, 2] and toy(store).latest() == 2
    assert release_faults(store) == []
    digests = {read_release(toy(store).folder / str(number)).manifest["digest"] for number in (1, 2)}
    assert digests == {draft.digest() for draft in drafts}
