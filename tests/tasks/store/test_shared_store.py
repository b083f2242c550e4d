"""A store that several machines mount, each under a path of its own: processes in mount namespaces of their own."""

import os
import signal
from pathlib import Path

import pytest

from tag2mask.tasks.store.store import Store
from tests.tasks.store.build_bench import machine
from tests.tasks.store.toy_stages import Toy, contents, draw_images, noted, start_child


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder that both machines mount, with the images."""
    draw_images(tmp_path / "shared" / "images", range(12))
    return tmp_path / "shared"


def answers_of_two(shared: Path, configs: tuple[Toy, Toy], force: bool) -> list[str]:
    """What two machines say that build at once: the digest that each of them came to."""
    children = []
    for name, config in zip(("first", "second"), configs, strict=True):
        place = shared.parent / name
        given = (place / "store", place / "images", config.model_dump_json(), force)
        children.append(start_child("build", *given, within=machine(shared, place)))
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [child.communicate()[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert not [*(shared.parent / "first").iterdir(), *(shared.parent / "second").iterdir()]  # mounted there alone
    return answers


def test_two_machines_build_a_result_once(shared: Path) -> None:
    """Of two machines that ask for a result at once one builds and the other waits; both find it, whole."""
    log = shared.parent / "log"
    config = Toy(pause=0.01, log=str(log))
    first, second = answers_of_two(shared, (config, config), False)
    assert sorted(noted(log)) == [f"p{number:03}" for number in range(12)]
    store = Store(shared / "store")
    (artifact,) = store.artifacts("toy_maps")
    assert first == second == artifact.digest
    assert store.find("toy_maps", artifact.key, reread=True) == artifact and len(contents(artifact)) == 25
    assert set(artifact.manifest["input_paths"].values()) == {store.artifacts("toy_index")[0].label}


def test_two_machines_that_exchange_a_result_leave_a_whole_one(shared: Path) -> None:
    """Two machines that force the same result with different bytes both end, and one of the two stands, sound."""
    answers = answers_of_two(shared, (Toy(salt="1"), Toy(salt="2")), True)
    store = Store(shared / "store")
    (artifact,) = store.artifacts("toy_maps")
    assert len(set(answers)) == 2 and artifact.digest in answers
    assert store.find("toy_maps", artifact.key, reread=True) == artifact


def test_lock_of_a_killed_process_on_another_machine_is_free(shared: Path) -> None:
    """A lock that is held on one machine is seen on the other, and is free there once its holder was killed."""
    place = shared.parent / "first"
    given = (place / "store", place / "images", "{}", False)
    child, store = start_child("hold", *given, within=machine(shared, place)), Store(shared / "store")
    assert child.stdout is not None
    worker = int(child.stdout.readline())
    try:
        with pytest.raises(BlockingIOError), store.lock("held", wait=False):
            pass
        child.kill()
        child.wait()
        with store.lock("held", wait=False):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        child.stdout.close()
