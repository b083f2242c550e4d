"""The slot that trainings share, and a server that cannot be reached for a while."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tag2mask.flows.serving import slots
from tag2mask.flows.serving.slots import TrainingSlot

NODE: Any = SimpleNamespace(name="train_segmenter-1", trains=True)


@contextmanager
def given(*_: object, **__: object) -> Iterator[None]:
    """A slot that is free."""
    yield


def test_a_training_waits_for_a_server_that_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server cannot be reached, the slot is asked for again, and the training begins when it is given."""
    answers: list[Exception | None] = [ConnectionError("nothing listens"), ConnectionError("nothing listens"), None]
    asked: list[str] = []
    client = SimpleNamespace(api_healthcheck=lambda: answers.pop(0))
    monkeypatch.setattr(slots, "get_client", lambda sync_client: nullcontext(client))
    monkeypatch.setattr(slots, "ensure_slot", asked.append)
    monkeypatch.setattr(slots, "concurrency", given)
    monkeypatch.setattr(slots, "PATIENCE", 0.01)
    with TrainingSlot("gpu", threading.Event(), None).held(NODE):
        assert asked == ["gpu"] and not answers


def test_what_the_server_refuses_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is none of the network's hiccups reaches the training."""

    def refused(name: str) -> None:
        raise ValueError("no such limit")

    client = SimpleNamespace(api_healthcheck=lambda: None)
    monkeypatch.setattr(slots, "get_client", lambda sync_client: nullcontext(client))
    monkeypatch.setattr(slots, "ensure_slot", refused)
    with pytest.raises(ValueError, match="no such limit"), TrainingSlot("gpu", threading.Event(), None).held(NODE):
        pass
