"""Stages that are interrupted, and run again to the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tag2mask.configs.sections.section import Section
from tag2mask.tasks.store.runtime import StageRuntime
from tests.tasks.drawn_files import files_of

Stage = Callable[..., None]


class Interrupted(RuntimeError):
    """What a stage is interrupted with."""


def interrupted_after(step: int, **resources: Any) -> StageRuntime:
    """Resources of a stage that is interrupted once it has reported a step."""

    def report(done: int, total: int, note: str) -> None:
        if done >= step:
            raise Interrupted(f"at {done} of {total}")

    return StageRuntime(checkpoint_seconds=0.0, report=report, **resources)


def check_resumed(stage: Stage, config: Section, folder: Path, stops: tuple[int, ...], **given: Path) -> Path:
    """Run a training undisturbed and, elsewhere, interrupted twice; their results must be the same bytes."""
    whole, parts = folder / "whole", folder / "parts"
    stage(config, whole, StageRuntime(), **given)
    for stop in stops:
        with pytest.raises(Interrupted, match=f"at {stop} "):
            stage(config, parts, interrupted_after(stop), **given)
        assert list((parts / ".resume").glob("checkpoint-*")) and not (parts / "model.pt").exists()
    stage(config, parts, StageRuntime(), **given)
    expected, found = files_of(whole), files_of(parts)
    assert {"model.pt", "model.json", "losses.csv", "metrics.json"} <= expected.keys()
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    return whole
