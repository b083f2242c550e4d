"""What `serve` makes of killed processes, of several trainings at once, and of nights that were missed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tag2mask.flows.dag.record import latest
from tests.flows.prefect_api import free_port, until
from tests.flows.served import Served, environment_of, offering, running_server, serving, write_tiny

pytestmark = [pytest.mark.serving, pytest.mark.timeout(900)]
CLASSIFIER = "train_classifier/tiny-train_classifier"
LONG = {"epochs": 4000, "accumulate_from": 0}
ALONE: dict[str, Any] = {"downstream": False, "upstream": True}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tiny run, served."""
    folder = tmp_path_factory.mktemp("crashes")
    with serving(folder, write_tiny(folder)) as found:
        yield found


def test_trainings_queue_and_a_killed_holder_gives_its_slot_back(served: Served) -> None:
    """While one run trains another waits, a cached one does not, and kill -9 is noticed, marked and passes the slot."""
    api = served.api
    first = api.start(CLASSIFIER, **ALONE)
    assert api.ended(first)["state_type"] == "COMPLETED"

    holder = api.start(CLASSIFIER, settings=LONG, **ALONE)
    until(lambda: served.slots == 1 or None, 60)
    waiting = api.start(CLASSIFIER, settings={"seed": 1}, **ALONE)
    until(lambda: any("waits for the slot 'gpu'" in line for line in api.logs(waiting)) or None, 90)
    cached = api.start(CLASSIFIER, **ALONE)
    assert api.ended(cached)["state_type"] == "COMPLETED"
    assert api.ended_tasks(cached)["train_classifier"]["state_name"] == "Cached"
    assert api.run(waiting)["state_type"] == "RUNNING"

    os.kill(served.process_of(holder), signal.SIGKILL)
    assert api.ended(holder, 30)["state_type"] == "CRASHED"
    assert api.ended_tasks(holder)["train_classifier"]["state_type"] == "CRASHED"
    assert api.ended(waiting, 180)["state_type"] == "COMPLETED"
    assert api.ended_tasks(waiting)["train_classifier"]["state_name"] == "Completed"
    until(lambda: served.slots == 0 or None, 10)


def test_a_run_outside_of_serve_is_marked_when_killed(served: Served) -> None:
    """A run from the command line that is killed does not stay `Running`: `serve` finds that its process is gone."""
    command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", str(served.folder / "tiny.yaml")]
    command += ["--root", str(served.root), "--engine", "prefect", "--set", "classifier.epochs=4000"]
    command += ["--until", "train_classifier"]
    with (served.folder / "run.log").open("wb") as log:
        process = subprocess.Popen(command, env=served.environment, stdout=log, stderr=log, start_new_session=True)
    until(lambda: served.slots == 1 or None, 90)
    (run_id,) = [run["id"] for run in served.api.call("flow_runs/filter", {}) if run["state_type"] == "RUNNING"]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run = served.api.ended(run_id, 60)
    assert run["state_type"] == "CRASHED" and "its process is gone" in run["state"]["message"]
    assert served.api.ended_tasks(run_id)["train_classifier"]["state_type"] == "CRASHED"


def test_cancelling_in_the_pause_before_another_attempt(served: Served) -> None:
    """A run that waits for its next attempt ends within 10 s of a cancellation, without a slot, and can be repeated."""
    api = served.api
    run_id = api.start(CLASSIFIER, settings=LONG, **ALONE)
    for pause in ("in 5 s", "in 30 s"):
        # the slot of the test before comes back after a minute; what works without one is no training
        training = until(lambda: served.stage_of(run_id) if served.slots == 1 else None, 150)
        os.kill(training, signal.SIGTERM)
        reported = f"train_classifier is tried again {pause}: its process was killed by SIGTERM"
        until(lambda reported=reported: reported in api.logs(run_id) or None, 30)
    assert served.slots == 0
    started = time.monotonic()
    api.set_state(run_id, "CANCELLING")
    assert api.ended(run_id, 20)["state_type"] == "CANCELLED"
    assert time.monotonic() - started < 10
    assert served.slots == 0
    assert api.ended_tasks(run_id)["train_classifier"]["state_type"] in {"CRASHED", "FAILED"}
    record = latest(served.root, "tiny")
    assert record is not None and record.content["state"] == "stopped"
    again = api.start(CLASSIFIER, settings={**LONG, "epochs": 1}, **ALONE)
    assert api.ended(again)["state_type"] == "COMPLETED"


def test_runs_end_with_serve_and_are_marked_by_the_next(tmp_path: Path) -> None:
    """A run's process ends with `serve`, and the next `serve` finds that it is gone."""
    config, environment = write_tiny(tmp_path), environment_of(tmp_path, free_port())
    with running_server(tmp_path, environment) as api:
        with offering(tmp_path, config, api, environment) as process:
            served = Served(tmp_path, api, environment, process)
            run_id = api.start(CLASSIFIER, settings=LONG, **ALONE)
            until(lambda: served.slots == 1 or None, 90)
            carrier = Path("/proc", str(served.process_of(run_id)))
        until(lambda: not carrier.exists() or None, 30)
        with offering(tmp_path, config, api, environment):
            assert api.ended(run_id, 120)["state_type"] == "CRASHED"


def test_a_run_at_work_and_serve_outlive_the_server(tmp_path: Path) -> None:
    """While no server answers a run comes to its end, and `serve` carries out another one when the server is back."""
    config, environment = write_tiny(tmp_path), environment_of(tmp_path, free_port())
    with ExitStack() as at_first:
        api = at_first.enter_context(running_server(tmp_path, environment))
        with offering(tmp_path, config, api, environment) as process:
            served = Served(tmp_path, api, environment, process)
            run_id = api.start(CLASSIFIER, settings={**LONG, "epochs": 400}, **ALONE)
            until(lambda: served.stage_of(run_id) if served.slots == 1 else None, 90)
            at_first.close()
            trained = until(lambda: next((tmp_path / "store" / "train_classifier").glob("*"), None), 240)
            assert process.poll() is None and (trained / "model.pt").is_file()
            with running_server(tmp_path, environment) as back:
                again = back.start(CLASSIFIER, **ALONE)
                assert back.ended(again, 240)["state_type"] == "COMPLETED"


def test_missed_nights_run_once(tmp_path: Path) -> None:
    """Of three nights that were missed the last one runs on return and the others are cancelled, and say why."""
    config, environment = write_tiny(tmp_path), environment_of(tmp_path, free_port())
    with running_server(tmp_path, environment) as api:
        with offering(tmp_path, config, api, environment, cron="0 2 * * *"):
            deployment = api.deployment("regenerate/tiny")
        now = datetime.now(UTC)
        window = {"start_time": str(now - timedelta(days=3)), "end_time": str(now), "min_runs": 3, "max_runs": 3}
        api.call(f"deployments/{deployment['id']}/schedule", window)
        chosen = {"flow_runs": {"expected_start_time": {"before_": str(now)}}, "sort": "EXPECTED_START_TIME_ASC"}
        missed = [run["id"] for run in api.call("flow_runs/filter", chosen)]
        assert len(missed) == 3
        with offering(tmp_path, config, api, environment, cron="0 2 * * *"):
            ends = [api.ended(run_id, 240)["state_type"] for run_id in missed]
            assert ends == ["CANCELLED", "CANCELLED", "COMPLETED"]
            assert "does its work" in api.run(missed[0])["state"]["message"]
            earlier = {**window, "start_time": str(now - timedelta(days=6)), "max_runs": 2}
            api.call(f"deployments/{deployment['id']}/schedule", earlier)
            late = [run["id"] for run in api.call("flow_runs/filter", chosen) if run["id"] not in missed]
            assert [api.ended(run_id, 120)["state_type"] for run_id in late] == ["CANCELLED"] * 2
