"""Which runs of a schedule count as missed, asked of a client that answers by hand."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled, State

from tag2mask.flows.serving import missed_runs

DEPLOYMENT = uuid4()
NIGHT = datetime(2026, 1, 1, 2, tzinfo=UTC)


def nights(monkeypatch: pytest.MonkeyPatch, *states: State) -> list[UUID]:
    """A schedule's runs of following nights in some states; their ids."""
    runs = [
        SimpleNamespace(
            id=uuid4(),
            deployment_id=DEPLOYMENT,
            auto_scheduled=True,
            expected_start_time=NIGHT + timedelta(days=day),
            state=state,
        )
        for day, state in enumerate(states)
    ]
    client = SimpleNamespace(
        read_flow_run=lambda wanted: next(run for run in runs if run.id == wanted),
        read_flow_runs=lambda **_: runs[::-1],
    )
    monkeypatch.setattr(missed_runs, "get_client", lambda **_: nullcontext(client))
    return [run.id for run in runs]


@pytest.mark.parametrize("later", [Scheduled(), Pending(), Running(), Completed()])
def test_a_later_run_does_the_work_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch, later: State) -> None:
    """A run is superseded by a later one that is to come, at work or done; the last one by none."""
    first, second = nights(monkeypatch, Running(), later)
    found = missed_runs.superseded_by(first)
    assert found is not None and found.id == second
    assert missed_runs.superseded_by(second) is None


@pytest.mark.parametrize("later", [Failed(), Crashed(), Cancelled()])
def test_a_later_run_that_failed_does_nobodys_work(monkeypatch: pytest.MonkeyPatch, later: State) -> None:
    """A person who retries a failed night gets it, though the nights after it failed, too."""
    first, _ = nights(monkeypatch, Running(), later)
    assert missed_runs.superseded_by(first) is None
