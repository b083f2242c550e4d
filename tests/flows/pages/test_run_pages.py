"""What a run leaves in the UI: a page that cannot be made costs a warning, not the stage."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tag2mask.flows.dag.outcome import Outcome
from tag2mask.flows.dag.record import RunRecord
from tag2mask.flows.pages import run_pages
from tag2mask.flows.pages.run_pages import RunPages
from tag2mask.tasks.store.manifest import DamagedArtifact
from tests.flows import toys


def test_damage_of_an_older_result_costs_a_page_and_no_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the figures of the run before cannot be read, that is logged, and the stage counts as made."""

    def find(stage: str, key: str) -> None:
        raise DamagedArtifact(f"{stage}/{key} is damaged")

    monkeypatch.setattr(run_pages, "create_markdown_artifact", lambda *_, **__: None)
    before = RunRecord(tmp_path / "toy" / "1.json", {"nodes": {"left": {"artifact": "toy_stage/0123"}}})
    node = toys.toy("left", "toy_stage", {"file": tmp_path / "data.txt"})
    made = SimpleNamespace(manifest={"metrics": {}}, label="toy_stage/4567", path=tmp_path)
    session = SimpleNamespace(store=SimpleNamespace(find=find), result=SimpleNamespace(outcomes={}))
    outcome = Outcome(node, cast(Any, made), cached=False, seconds=1.0)
    RunPages("toy", before).stage_made(cast(Any, session), outcome)
    assert "the figures of left was not shown: DamagedArtifact: toy_stage/0123 is damaged" in caplog.text
