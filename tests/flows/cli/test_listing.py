"""The commands that look at a store."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tag2mask.configs.load import load_config
from tag2mask.flows.cli.listing import NoSuchArtifact, artifacts_named
from tag2mask.flows.cli.main import app
from tag2mask.flows.dag.record import write_record
from tag2mask.flows.engine.session import execute
from tag2mask.flows.init import packaged
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.label_maps import write_labels
from tag2mask.tasks.demo.scenes import write_demo
from tag2mask.tasks.store.store import NoStore, Store
from tests.flows import toys
from tests.tasks.toy_catalog import toy_stage


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
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


LOOKS = [
    *(["verify"], ["ls"], ["gc"], ["why", "mine_objects"], ["releases"], ["latest", "toy"], ["diff", "toy@1", "2"]),
    *(["diff", "mine_objects", "refine_masks"], ["export", "toy@1", "--out", "out"]),
]


@pytest.mark.parametrize("looks", LOOKS, ids=" ".join)
def test_looking_at_a_store_that_is_not_there_is_an_error_and_makes_none(tmp_path: Path, looks: list[str]) -> None:
    """A misspelt --root is named, and no folder is made; so it is with a file."""
    (tmp_path / "file").touch()
    for name, wrong in (("nw", "does not exist"), ("file", "is a file")):
        ran = CliRunner().invoke(app, [*looks, "--root", str(tmp_path / name)])
        assert ran.exit_code == 1 and isinstance(ran.exception, NoStore)
        assert f"in {tmp_path / name}, which {wrong}" in str(ran.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_publish_and_plan_make_no_store(tmp_path: Path) -> None:
    """`publish` without a store is an error; `plan` says what the first run would do, and that there is no store."""
    images, root = tmp_path / "data", tmp_path / "nw"
    write_demo(images, scenes=6, validation=2, saliency=2, size=80)
    (tmp_path / "demo.yaml").write_text(packaged("demo.yaml").read_text())
    change = ["--set", f"dataset.root={images}", "--set", f"saliency_set.root={images / 'saliency'}"]
    arguments = [str(tmp_path / "demo.yaml"), *change, "--root", str(root)]
    assert isinstance(CliRunner().invoke(app, ["publish", *arguments]).exception, NoStore)
    planned = CliRunner().invoke(app, ["plan", *arguments])
    assert planned.exit_code == 0 and "never built" in planned.output
    assert not [line for line in planned.output.splitlines() if line.endswith(" ")]  # for programs that read it
    assert "nw does not exist yet: a run makes it" in planned.output and not root.exists()


def test_folders_are_compared_without_a_store(tmp_path: Path) -> None:
    """`diff` of two folders of PNGs needs no store and makes none."""
    for name in ("old", "new"):
        write_labels(tmp_path / name / "p.png", np.zeros((4, 4), np.uint8))
    folders = [str(tmp_path / "old"), str(tmp_path / "new")]
    out = ["--out", str(tmp_path / "out"), "--root", str(tmp_path / "nw")]
    ran = CliRunner().invoke(app, ["diff", *folders, *out])
    assert ran.exit_code == 0 and not (tmp_path / "nw").exists()


def test_an_unknown_stage_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """`ls` of a misspelt stage is an error; of a stage that made nothing yet it is an empty table."""
    ran = CliRunner().invoke(app, ["ls", "mine_object", "--root", str(tmp_path)])
    assert ran.exit_code == 1 and str(ran.exception) == "no stage 'mine_object'; the nearest is 'mine_objects'"
    assert "0 artifacts" in CliRunner().invoke(app, ["ls", "mine_objects", "--root", str(tmp_path)]).output
