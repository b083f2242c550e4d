"""The local engine: what runs, what is a hit, and what a failure stops."""

import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tag2mask.configs.runtime import Runtime
from tag2mask.flows.dag.errors import StageFailed, Stopped
from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import failure_of
from tag2mask.flows.engine import session as running
from tag2mask.flows.engine.budget import CoreBudget
from tag2mask.flows.engine.session import execute
from tag2mask.tasks.catalog import CATALOG
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage

NAMES = ["join", "left", "left_child", "right", "right_child"]


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()


def run(tmp_path: Path, nodes: tuple[Node, ...] | None = None, **settings: object) -> dict[str, str]:
    """States of all nodes after a run."""
    nodes = nodes or toys.toy_dag(tmp_path)
    return toys.states(execute(toys.session(nodes, tmp_path / "store", **settings)))  # type: ignore[arg-type]


def test_second_run_builds_nothing(tmp_path: Path) -> None:
    """A second run finds every artifact."""
    assert set(run(tmp_path).values()) == {"built"}
    assert set(run(tmp_path).values()) == {"cached"}
    assert toys.times_run(tmp_path) == NAMES


def test_changed_setting_rebuilds_what_depends_on_it(tmp_path: Path) -> None:
    """A changed setting rebuilds its stage and what reads it, and nothing else."""
    run(tmp_path)
    after = run(tmp_path, toys.toy_dag(tmp_path, left_child={"text": "other"}))
    assert [name for name, state in after.items() if state == "built"] == ["left_child", "join"]


def test_same_bytes_upstream_are_a_hit_downstream(tmp_path: Path) -> None:
    """A stage that is rebuilt to the same bytes leaves what reads it cached."""
    run(tmp_path)
    after = run(tmp_path, force={"left"})
    assert [name for name, state in after.items() if state == "built"] == ["left"]


def test_changed_file_is_noticed(tmp_path: Path) -> None:
    """A raw file with other content rebuilds what reads it, as far as the bytes differ."""
    run(tmp_path)
    (tmp_path / "left.txt").write_text("moved")
    after = run(tmp_path)
    assert [name for name, state in after.items() if state == "built"] == ["left", "left_child"]


def test_failure_spares_the_other_branch(tmp_path: Path) -> None:
    """What does not depend on a failed stage still runs; what does is not run and names it."""
    engine = toys.session(toys.toy_dag(tmp_path, left={"does": "fail"}), tmp_path / "store")
    result = execute(engine)
    assert toys.states(result) == {
        "right": "built",
        "right_child": "built",
        "left": "failed",
        "left_child": "not run",
        "join": "not run",
    }
    assert result.failures["left"].message == "left cannot be done; do something else"
    assert "ToyError" in result.failures["left"].trace
    assert result.failures["left_child"].message == "not run: needs left"
    assert [failure.cause for failure in result.failures.values()] == [True, False, False]


def test_failed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """After the cause is gone, only what is missing is built."""
    run(tmp_path, toys.toy_dag(tmp_path, join={"does": "fail"}))
    after = run(tmp_path)
    assert [name for name, state in after.items() if state == "built"] == ["join"]


def test_missing_file_names_the_setting(tmp_path: Path) -> None:
    """A raw file that does not exist fails its stage with the setting and the path."""
    nodes = toys.toy_dag(tmp_path)
    (tmp_path / "right.txt").unlink()
    result = execute(toys.session(nodes, tmp_path / "store"))
    assert result.failures["right"].message == f"toy_read.file: {tmp_path / 'right.txt'} does not exist"
    assert "left_child" in result.outcomes


def test_nothing_outside_of_the_selection_is_built(tmp_path: Path) -> None:
    """A partial run refuses to build what it was not asked for, and builds what it was."""
    nodes = toys.toy_dag(tmp_path)
    refused = run(tmp_path, nodes, allowed={"join"})
    assert set(refused.values()) == {"not run"}
    assert not toys.times_run(tmp_path)
    run(tmp_path, nodes)
    changed = toys.toy_dag(tmp_path, join={"text": "again"})
    assert run(tmp_path, changed, allowed={"join"})["join"] == "built"


def test_a_refusal_to_build_names_the_remedy(tmp_path: Path) -> None:
    """What lies outside of the stages asked for is refused with the options to change."""
    session = toys.session(toys.toy_dag(tmp_path), tmp_path / "store", allowed={"join"})
    message = execute(session).failures["left"].message
    assert message.endswith("stages asked for: leave out --only or --from, or use --until join")


def test_damaged_artifact_is_rebuilt_and_reported(tmp_path: Path) -> None:
    """An artifact with a flipped byte is set aside, rebuilt, and the reason is noted."""
    first = execute(toys.session(toys.toy_dag(tmp_path), tmp_path / "store"))
    file = first.outcomes["left_child"].artifact.path / "result.txt"
    file.write_text(file.read_text().swapcase())
    result = execute(toys.session(toys.toy_dag(tmp_path), tmp_path / "store"))
    assert [name for name, outcome in result.outcomes.items() if not outcome.cached] == ["left_child"]
    assert "result.txt" in result.outcomes["left_child"].note


def test_threads_depend_on_the_dag_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage for all cores gets all cores and any other half of them, whatever happens to run beside it."""
    monkeypatch.setitem(CATALOG, "toy_join", toy_stage("toy_join", all_cores=True))
    engine = toys.session(toys.toy_dag(tmp_path), tmp_path / "store", cores=5)
    execute(engine)
    assert dict(engine.listener.starts) == {  # type: ignore[attr-defined]
        "left": 2,
        "right": 2,
        "left_child": 5,
        "right_child": 5,
        "join": 5,
    }


def test_progress_reaches_the_listener(tmp_path: Path) -> None:
    """What a stage reports arrives with its node's name."""
    engine = toys.session(toys.toy_dag(tmp_path)[:1], tmp_path / "store")
    execute(engine)
    assert engine.listener.notes == [("left", 1, 4, "begun"), ("left", 4, 4, "done")]  # type: ignore[attr-defined]


def test_memory_failure_names_what_to_lower(tmp_path: Path) -> None:
    """Where memory ran out, the settings that it grows with are named with their values."""
    nodes = toys.toy_dag(tmp_path, right={"does": "exhaust"})
    message = execute(toys.session(nodes, tmp_path / "store")).failures["right"].message
    assert message == "MemoryError; lower toy_read.batch_size (now 8)"
    killed = failure_of(nodes[0], StageFailed("its process was killed by SIGKILL", "SIGKILL"))
    assert killed.message.endswith("; lower toy_read.batch_size (now 8)")


def test_unforeseen_error_keeps_its_traceback(tmp_path: Path) -> None:
    """An error of the engine itself is a failure of its node, with type and traceback."""
    nodes = toys.toy_dag(tmp_path)
    broken = (replace(nodes[0], stage="no_such_stage"), *nodes[1:])
    failure = execute(toys.session(broken, tmp_path / "store")).failures["left"]
    assert failure.message.startswith("KeyError")
    assert "Traceback" in failure.trace


def test_stopped_session_starts_nothing(tmp_path: Path) -> None:
    """After a stop, no node is run and every node says so."""
    engine = toys.session(toys.toy_dag(tmp_path), tmp_path / "store")
    engine.end()
    assert set(toys.states(execute(engine)).values()) == {"not run"}
    assert not toys.times_run(tmp_path)


def test_budget_is_never_exceeded() -> None:
    """However many ask, no more cores are out than there are."""
    budget, lock, out, most = CoreBudget(3), threading.Lock(), 0, 0

    def work(rank: int) -> None:
        nonlocal out, most
        with budget.share(1 + rank % 3, rank):
            with lock:
                out += 1 + rank % 3
                most = max(most, out)
            time.sleep(0.002)
            with lock:
                out -= 1 + rank % 3

    workers = [threading.Thread(target=work, args=(rank,)) for rank in range(30)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert most <= 3
    assert (budget.cores, budget.waiting) == (3, {})


@pytest.mark.parametrize("places", [0, 1])
def test_budget_serves_in_order(places: int) -> None:
    """Of those that wait, the first in the DAG's order that fits is served; one place means one at a time."""
    budget, served = CoreBudget(2, places), []

    def work(rank: int) -> None:
        with budget.share(2, rank):
            served.append(rank)

    with budget.share(1, 0):
        workers = [threading.Thread(target=work, args=(rank,)) for rank in (3, 1, 2)]
        for worker in workers:
            worker.start()
        while len(budget.waiting) < 3:
            time.sleep(0.001)
    for worker in workers:
        worker.join(10)
    assert served == [1, 2, 3]


def test_budget_releases_those_that_wait_at_a_stop() -> None:
    """A stop ends the waiting with an error."""
    budget, ended = CoreBudget(1), []

    def work() -> None:
        try:
            with budget.share(1, 1):
                ended.append("worked")
        except Stopped:
            ended.append("stopped")

    with budget.share(1, 0):
        worker = threading.Thread(target=work)
        worker.start()
        budget.stop()
        worker.join(10)
    assert ended == ["stopped"]


def test_precision_is_reported_once_and_kept_in_manifests_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first training says what the machine gets, every manifest what its stage got, and another choice is a hit."""
    nodes = toys.toy_dag(tmp_path)
    nodes = tuple(replace(node, stage="train_toy") if node.name.endswith("child") else node for node in nodes)
    monkeypatch.setitem(CATALOG, "train_toy", toy_stage("train_toy", trains=True))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    with caplog.at_level("INFO", "tag2mask"):
        result = execute(toys.session(nodes, tmp_path / "store"))
    assert [r.getMessage() for r in caplog.records] == ["precision: bfloat16 (the processor has amx_bf16)"]
    given = {name: outcome.artifact.manifest["precision"] for name, outcome in result.outcomes.items()}
    assert given.pop("left_child") == given.pop("right_child") == "bfloat16"
    assert set(given.values()) == {"float32"}
    caplog.clear()
    again = execute(toys.session(nodes, tmp_path / "store", precision="float32"))
    assert set(toys.states(again).values()) == {"cached"} and not caplog.records


def test_runtime_refuses_no_cores() -> None:
    """A run needs a core."""
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Runtime(cores=0)


def test_another_attempt_of_a_forced_stage_does_not_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stage that is forced the first attempt of a run starts from nothing, and those after it go on."""
    session = toys.session(toys.toy_dag(tmp_path), tmp_path / "store", force=("left",))
    orders: list[tuple[bool, bool]] = []
    monkeypatch.setattr(running, "run_here", lambda job, *_: orders.append((job.order.force, job.order.resume)))
    for _ in range(2):
        with suppress(StageFailed):  # nothing was made
            session.run_node(session.nodes[0], {})
    assert orders == [(True, False), (True, True)]


def test_a_stop_ends_the_pause_before_another_attempt(tmp_path: Path) -> None:
    """A node that waits for its next attempt ends as stopped when the run is, long before its time."""
    session = toys.session(toys.toy_dag(tmp_path), tmp_path / "store")
    node = session.nodes[0]
    session.settle(node, StageFailed("the disk was away", "OSError"))
    paused = threading.Thread(target=lambda: pytest.raises(Stopped, session.pause, node, 600))
    paused.start()
    paused.join(0.2)
    assert paused.is_alive()
    session.end()
    paused.join(60)
    assert not paused.is_alive()
