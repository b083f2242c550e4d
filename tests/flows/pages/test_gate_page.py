"""The table on the gate's page; the page itself is made by runs in `test_serving.py`."""

from tag2mask.configs.sections.release import Release
from tag2mask.flows.pages.gate_page import signal_table
from tag2mask.tasks.release.gate import judge


def test_the_table_shows_values_thresholds_and_what_failed() -> None:
    """Each signal has a row, and those that keep the labels from being released are bold."""
    rules = Release(maximum_missing_tags=0.25, minimum_miou=None, required=("changed_images",))
    judgement = judge({"missing_tags": 0.5, "ignored_share": 0.125, "miou": 0.4}, rules)
    lines = signal_table(judgement.as_json()["signals"]).splitlines()
    assert lines[:2] == ["| signal | value | threshold | verdict |", "| --- | ---: | ---: | --- |"]
    assert "| `missing_tags` | 0.500 | ≤ 0.25 | **failed** |" in lines
    assert "| `ignored_share` | 0.125 | ≤ 0.4 | passed |" in lines
    assert "| `miou` | 0.400 | – | not judged |" in lines
    assert len(lines) == 2 + len(judgement.signals)
    (changed,) = [line for line in lines if "changed_images" in line]
    assert changed.endswith("| **not measured, but required** |")
    assert sum("**" in line for line in lines) == len(judgement.failures)
