"""Which engine carries out a run, and when a server is started for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas import State
from prefect.states import Completed

from tag2mask.configs.runtime import Runtime
from tag2mask.flows import run as module
from tag2mask.flows.engine import running
from tag2mask.flows.engine import session as execution
from tag2mask.flows.engine.child import run_here
from tag2mask.flows.engine.running import Selection
from tag2mask.flows.init import packaged
from tag2mask.flows.run import Engine, Request, run
from tag2mask.tasks.catalog import CATALOG
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was begun beside this process: a temporary server, a flow; the toys in place of the real DAG."""
    started: list[str] = []
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()
    monkeypatch.setattr(os, "environ", {n: v for n, v in os.environ.items() if not n.startswith("PREFECT_")})
    monkeypatch.setattr(execution, "run_in_child", run_here)
    monkeypatch.setattr(running, "build_dag", lambda config: toys.toy_dag(tmp_path))

    @contextmanager
    def server(root: Path) -> Iterator[str]:
        started.append("server")
        yield "server"

    def flow_on(server: Any) -> Any:
        def flow(**_: Any) -> State:
            started.append(f"flow on {server or os.environ['PREFECT_API_URL']}")
            return Completed()

        return flow

    monkeypatch.setattr(module, "temporary_server", server)
    monkeypatch.setattr(module, "_flow", flow_on)
    return started


def carried_out(folder: Path, engine: Engine, *force: str) -> None:
    """Run the toys."""
    run(Request(packaged("demo.yaml"), (), Selection(force=force), Runtime(root=folder / "store"), engine))


def test_a_server_is_started_where_there_is_work(tmp_path: Path, begun: list[str]) -> None:
    """With Prefect asked for and no server running, one is started for the run, and without a word none is."""
    carried_out(tmp_path, "prefect")
    assert begun == ["server", "flow on server"]
    carried_out(tmp_path, "auto")
    assert len(toys.times_run(tmp_path)) == 5 and len(begun) == 2


def test_a_run_that_finds_nothing_to_do_starts_no_server(
    tmp_path: Path, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where every artifact is there this process says so by itself; a stage that is forced is work."""
    carried_out(tmp_path, "local")
    carried_out(tmp_path, "prefect")
    assert begun == [] and "nothing to do: all 5 stages are up to date" in capsys.readouterr().out
    carried_out(tmp_path, "prefect", "join")
    assert begun == ["server", "flow on server"]


def test_every_run_appears_on_a_server_that_runs(
    tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server that the environment names a run appears even if it finds nothing to do."""
    carried_out(tmp_path, "local")
    monkeypatch.setitem(os.environ, "PREFECT_API_URL", "http://team.test/api")
    carried_out(tmp_path, "auto")
    assert begun == ["flow on http://team.test/api"]
