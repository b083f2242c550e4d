"""The benches of the tests of the store and of building."""

import os
import sys
from pathlib import Path

import pytest

from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.store import Store
from tests.tasks.store.build_bench import Bench
from tests.tasks.store.toy_artifacts import RECIPE, build_with, make
from tests.tasks.store.toy_stages import (
    install,
)


@pytest.fixture
def lasting_power(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for on the disk: no test cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def toy_stages(lasting_power: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy stages, for as long as the test lasts."""
    for name in ("toy_index", "toy_maps"):
        monkeypatch.setitem(sys.modules, f"tag2mask.tasks.{name}", None)
    install()


@pytest.fixture
def bench(tmp_path: Path, toy_stages: None) -> Bench:
    """Ten images, and the toy stages that read them."""
    return Bench(tmp_path)


@pytest.fixture
def store(tmp_path: Path, lasting_power: None) -> Store:
    """An empty store."""
    return Store(tmp_path / "artifacts")


@pytest.fixture
def made(store: Store) -> Artifact:
    """The small artifact, in the store."""
    return build_with(store, RECIPE, make)
