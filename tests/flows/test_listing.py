"""The commands that look at a store."""

from pathlib import Path

import pytest

from tag2mask.configs.load import load_config
from tag2mask.flows.beginning import packaged
from tag2mask.flows.execution import execute
from tag2mask.flows.listing import NoSuchArtifact, artifacts_named
from tag2mask.flows.record import write_record
from tag2mask.tasks import STAGE_VERSIONS
from tag2mask.tasks.common.store import Store
from tests.flows import toys


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in toys.STAGES:
        monkeypatch.setitem(STAGE_VERSIONS, name, 1)
    toys.install()


def test_a_node_is_that_of_the_newest_run_that_has_it(tmp_path: Path) -> None:
    """A later run of another name, with other nodes, hides neither nodes nor stages of the runs before."""
    store, nodes = Store(tmp_path / "store"), toys.toy_dag(tmp_path)
    for name, chosen in (("whole", nodes), ("part", nodes[:1])):
        result = execute(toys.session(chosen, store.root))
        write_record(store.root, load_config(packaged("demo.yaml"), [f"name={name}"]), result, 0.0)
    (join,) = artifacts_named(store, "join")
    assert join in artifacts_named(store, "toy_join") and len(artifacts_named(store, "toy_join")) == 3
    assert len(artifacts_named(store, "toy_read")) == 1
    with pytest.raises(NoSuchArtifact, match="no artifact 'jion'"):
        artifacts_named(store, "jion")
