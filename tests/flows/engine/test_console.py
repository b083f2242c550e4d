"""What is said while a run goes on."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tag2mask.flows.dag.resolve import resolve
from tag2mask.flows.engine import console
from tag2mask.flows.engine.session import execute
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import TAKEN_OVER, WAITS
from tests.flows import toys
from tests.tasks.store.toy_artifacts import build_with
from tests.tasks.toy_catalog import toy_stage


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in toys.STAGES:
        monkeypatch.setitem(CATALOG, name, toy_stage(name))
    toys.install()


def said(tmp_path: Path, *, terminal: bool, **settings: dict[str, str]) -> str:
    """What a run of the toy DAG prints."""
    text = io.StringIO()
    out = Console(file=text, force_terminal=terminal, width=100)
    with console.shown_progress(out) as listener:
        engine = toys.session(toys.toy_dag(tmp_path, **settings), tmp_path / "store")
        engine.listener = listener
        result = execute(engine)
    console.print_result(out, result)
    return text.getvalue()


def test_time_left_follows_the_pace_since_the_first_report() -> None:
    """A stage that resumed at 50 of 100 and does one a second has as many seconds left as steps."""
    left = console.TimeLeft()
    left.update(50, 100, 1000.0)
    assert str(left) == ""
    left.update(60, 100, 1010.0)
    assert str(left) == "about 0:40 left"
    left.update(100, 100, 1050.0)
    assert left.seconds == 0


@pytest.mark.parametrize("slow", [0, 1, 3, 5], ids=lambda slow: f"{slow} slow steps")
@pytest.mark.parametrize("first", [0, 40], ids=["from the start", "resumed"])
def test_time_left_is_honest_within_a_factor_of_two_after_ten_steps(slow: int, first: int) -> None:
    """However slow the first steps are, and with steps that differ by half, from the tenth on each tells the rest."""
    left, now, total = console.TimeLeft(), 0.0, 1000
    rng = np.random.default_rng(slow)
    seconds = np.where(np.arange(total) < first + slow, 20.0, rng.uniform(0.5, 1.5, total))
    left.update(first, total, now)
    for step in range(first, total):
        now += seconds[step]
        left.update(step + 1, total, now)
        rest = seconds[step + 1 :].sum()
        if step + 1 - first >= 10 and rest > 10:
            assert left.seconds is not None and rest / 2 < left.seconds < 2 * rest, step


def test_time_left_follows_a_pace_that_changes() -> None:
    """Once as many steps went at a new pace as before it, the old one is forgotten."""
    left = console.TimeLeft()
    for step in range(101):
        left.update(step, 400, float(step))
    for step in range(101, 202):
        left.update(step, 400, 100.0 + 5 * (step - 100))
    assert left.seconds == pytest.approx(5 * (400 - 201))


def test_time_left_starts_anew_when_the_count_does() -> None:
    """A second pass over the images is timed by itself."""
    left = console.TimeLeft()
    left.update(0, 10, 0.0)
    left.update(10, 10, 100.0)
    left.update(0, 10, 100.0)
    left.update(5, 10, 101.0)
    assert left.seconds == pytest.approx(1.0)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    """Seconds are written as minutes and, where needed, hours."""
    assert console.clock(seconds) == text


def test_log_has_a_line_at_start_and_end(tmp_path: Path) -> None:
    """Without a terminal a stage has one line when it starts and one when it ends, a cached one none."""
    first = said(tmp_path, terminal=False)
    assert first.count("left started (1 thread)") == 1
    assert first.count("left done in 0:00, miou 0.500  images 1") == 1
    assert "\x1b" not in first
    again = said(tmp_path, terminal=False)
    assert "started" not in again
    assert again.count("cached") == 5


def test_log_reports_progress_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between start and end there is a line every so many seconds, with count, note and time left."""
    assert "1/4" not in said(tmp_path / "a", terminal=False)
    monkeypatch.setattr(console, "LOG_SECONDS", 0.0)
    lines = said(tmp_path / "b", terminal=False)
    assert "left 1/4, begun" in lines
    assert "left 4/4, done, about 0:00 left" in lines


def test_only_causes_are_reported(tmp_path: Path) -> None:
    """A failure is reported once, not again for every stage that needs it; the table has them all."""
    lines = said(tmp_path, terminal=False, left={"does": "fail"})
    assert lines.count("cannot be done") == 1
    assert "needs left" not in lines
    assert lines.count("not run") == 2


def test_terminal_shows_bars_and_ends_without_them(tmp_path: Path) -> None:
    """In a terminal the same lines stay, and the bars are gone at the end."""
    text = said(tmp_path, terminal=True, right={"does": "fail"})
    assert "left done in 0:00" in text
    assert "right failed: right cannot be done" in text
    after = text.rpartition("\x1b[?25h")[2]  # the cursor comes back when the bars go
    assert "not run" in after and "━" not in after


def test_headline_takes_the_first_figures_it_knows() -> None:
    """The mean IoU comes first; figures that are no numbers are left out."""
    assert console.headline_of({"images": 7, "miou": 0.25, "mae": None}) == "miou 0.250  images 7"
    assert console.headline_of({"classes": ["a"]}) == ""


@pytest.mark.timeout(60)
def test_a_stage_that_another_run_builds_waits_aloud_and_is_not_said_to_be_built(tmp_path: Path) -> None:
    """A run that waits says so at once, as a line or in a bar, and then that the other built it."""
    for terminal in (False, True):
        text, folder = io.StringIO(), tmp_path / str(terminal)
        first = toys.session(toys.toy_dag(folder)[:1], folder / "store")
        recipe = resolve(first.nodes[0], {}, first.store).recipe
        name = f"{recipe.stage}-{recipe.key}"
        out = Console(file=text, force_terminal=terminal, width=100)
        with ThreadPoolExecutor() as pool, console.shown_progress(out) as listener:
            second = toys.session(first.nodes, first.store.root)
            second.listener = listener
            with first.store.lock(name):
                waiting = pool.submit(execute, second)
                while WAITS not in text.getvalue():
                    time.sleep(0.05)
                build_with(first.store, recipe, lambda out: write_json(out / "metrics.json", {"images": 1}))
            result = waiting.result()
        console.print_result(out, result)
        assert f"left {TAKEN_OVER}" in text.getvalue() and result.outcomes["left"].cached
        assert "done in" not in text.getvalue() and " built " not in text.getvalue().replace(TAKEN_OVER, "")
