"""Which failures another attempt can mend."""

import pytest

from tag2mask.flows.dag.errors import MissingInput, StageFailed, Stopped
from tag2mask.flows.engine.retries import worth_retrying
from tag2mask.tasks.store.files import NoRoomOnDisk


@pytest.mark.parametrize("kind", ["OSError", "ConnectionResetError", "SIGTERM", "NoResult", "BrokenProcessPool"])
def test_what_may_pass_is_worth_it(kind: str) -> None:
    """Hiccups of disk and network and lost processes are tried again."""
    assert worth_retrying(StageFailed("away", kind))


@pytest.mark.parametrize("kind", ["ValueError", "SIGKILL", "MemoryError", "OutOfMemoryError", "FileNotFoundError"])
def test_what_comes_again_is_not(kind: str) -> None:
    """Settings, missing files and memory are not tried again."""
    assert not worth_retrying(StageFailed("no", kind))


@pytest.mark.parametrize("error", [Stopped("x"), MissingInput("x"), NoRoomOnDisk("x"), PermissionError("x")])
def test_what_fails_before_the_work_is_not(error: Exception) -> None:
    """Neither is a run that was stopped, an input that does not exist, a full disk or a forbidden file."""
    assert not worth_retrying(error)
