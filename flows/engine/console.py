"""What a person sees of a run: progress with the time left, as bars in a terminal or lines in a log, and the table."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import Failure, Listener, Outcome, RunResult
from tag2mask.tasks.store.runtime import TAKEN_OVER, WAITS

LOG_SECONDS = 20.0
"""Time between two lines about a stage in a log."""
HEADLINES = ("miou", "max_f", "mae", "images")
"""Metrics worth a place in the table, the first two that a stage has."""


class TimeLeft:
    """Estimate of the time a stage still needs, from its pace over the later half of what it was seen to do.

    The first steps of a stage are slow, since images are decoded and kernels prepared: a pace since the beginning would
    count them for long.  What a resumed stage had done before does not count as done in no time.
    """

    def __init__(self) -> None:
        self.seen: deque[tuple[float, int]] = deque()
        self.first = 0
        self.seconds: float | None = None

    def update(self, done: int, total: int, now: float) -> None:
        """Take in a report of progress; a count that falls begins a new pass."""
        if not self.seen or done < self.seen[-1][1]:
            self.seen.clear()
            self.first = done
        self.seen.append((now, done))
        while len(self.seen) > 2 and self.seen[1][1] <= (self.first + done) / 2:
            self.seen.popleft()
        began, at = self.seen[0]
        self.seconds = (now - began) / (done - at) * (total - done) if done > at else None

    def __str__(self) -> str:
        return "" if self.seconds is None else f"about {clock(self.seconds)} left"


class LogListener:
    """One line when a stage starts and ends, and one every 20 seconds in between."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lock = threading.Lock()
        self.left: dict[str, TimeLeft] = {}
        self.said: dict[str, float] = {}

    def started(self, node: Node, threads: int) -> None:
        """Say so."""
        with self.lock:
            self.left[node.name], self.said[node.name] = TimeLeft(), time.monotonic()
        self._say(f"{node.name} started ({threads} {'thread' if threads == 1 else 'threads'})")

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """Say so if nothing was said for a while; that it waits, at once."""
        if note == WAITS:
            self._say(f"{node.name} {note}")
            return
        now = time.monotonic()
        with self.lock:
            left = self.left[node.name]
            left.update(done, total, now)
            if now - self.said[node.name] < LOG_SECONDS:
                return
            self.said[node.name] = now
        self._say(f"{node.name} {', '.join(filter(None, (f'{done}/{total}', note, str(left))))}")

    def finished(self, outcome: Outcome) -> None:
        """Say so of stages that were at work, waited for another run, or kept an older model."""
        if outcome.note == TAKEN_OVER or outcome.kept:
            self._say(f"{outcome.node.name} {outcome.note}")
        if not outcome.cached:
            after = ", ".join(filter(None, (f"done in {clock(outcome.seconds)}", headline(outcome), outcome.note)))
            self._say(f"{outcome.node.name} {after}")

    def failed(self, failure: Failure) -> None:
        """Say so, unless it only follows from another failure."""
        if failure.cause:
            self._say(f"{failure.node.name} {'failed: ' if failure.started else ''}{failure.message}")

    def _say(self, line: str) -> None:
        self.console.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False, highlight=False, soft_wrap=True)


class BarListener(LogListener):
    """A bar per stage at work, and a line for each that ended."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
        self.bars = Progress(*columns, console=console, transient=True)
        self.tasks: dict[str, TaskID] = {}

    def started(self, node: Node, threads: int) -> None:
        """Show a bar."""
        with self.lock:
            self.left[node.name] = TimeLeft()
            self.tasks[node.name] = self.bars.add_task(node.name, total=None, state="starting")

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """Move the bar; one that waits does not move."""
        with self.lock:
            if note == WAITS:
                self.bars.update(self.tasks[node.name], state=note)
                return
            left = self.left[node.name]
            left.update(done, total, time.monotonic())
            state = "  ".join(filter(None, (f"{done}/{total}", note, str(left))))
            self.bars.update(self.tasks[node.name], completed=done, total=total, state=state)

    def finished(self, outcome: Outcome) -> None:
        """Replace the bar by a line."""
        self._drop(outcome.node)
        super().finished(outcome)

    def failed(self, failure: Failure) -> None:
        """Replace the bar by a line."""
        self._drop(failure.node)
        super().failed(failure)

    def _drop(self, node: Node) -> None:
        with self.lock:
            task = self.tasks.pop(node.name, None)
        if task is not None:
            self.bars.remove_task(task)


@contextmanager
def counted(console: Console, what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Something to report one long piece of work to: a bar in a terminal, a line every 20 seconds elsewhere.

    Args:
        console: where to show it.
        what: the work's name, before the count.
    """
    left, said = TimeLeft(), time.monotonic()
    bars = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), console=console)
    bar = bars.add_task(what, total=None, state="starting")

    def report(done: int, total: int, note: str) -> None:
        nonlocal said
        now = time.monotonic()
        left.update(done, total, now)
        state = "  ".join(filter(None, (f"{done}/{total}", note, str(left))))
        bars.update(bar, completed=done, total=total, state=state)
        if not console.is_terminal and now - said >= LOG_SECONDS:
            said = now
            console.print(f"{time.strftime('%H:%M:%S')} {what} {state}", markup=False, highlight=False, soft_wrap=True)

    with bars if console.is_terminal else nullcontext():
        yield report


@contextmanager
def shown_progress(console: Console) -> Iterator[Listener]:
    """A listener that shows the progress of a run: bars in a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LogListener(console)
        return
    listener = BarListener(console)
    with listener.bars:
        yield listener


def print_result(console: Console, result: RunResult) -> None:
    """Print the table of stages."""
    table = table_of("stage", "state", "seconds", "result")
    for outcome in result.outcomes.values():
        state = "kept" if outcome.kept else "cached" if outcome.cached else "built"
        seconds = outcome.artifact.manifest["seconds"] if outcome.cached else outcome.seconds
        table.add_row(outcome.node.name, state, f"{seconds:.1f}", headline(outcome))
    for failure in result.failures.values():
        table.add_row(failure.node.name, "failed" if failure.started else "not run", "", "")
    show_table(console, table)


def headline(outcome: Outcome) -> str:
    """The metrics that say most about an artifact."""
    return headline_of(outcome.artifact.manifest["metrics"])


def headline_of(metrics: dict[str, Any]) -> str:
    """The metrics that say most, such as `miou 0.481`."""
    chosen: Iterable[str] = [name for name in HEADLINES if isinstance(metrics.get(name), int | float)][:2]
    return "  ".join(f"{name} {_figure(metrics[name])}" for name in chosen)


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def table_of(*columns: str) -> Table:
    """A table without lines around its cells."""
    return Table(*columns, box=None, pad_edge=False)


def show_table(console: Console, table: Table) -> None:
    """Print a table; for a program that reads it without the blanks that fill up the last column."""
    if console.is_terminal:
        console.print(table, markup=False)
        return
    with console.capture() as captured:
        console.print(table, markup=False)
    console.out("\n".join(line.rstrip() for line in captured.get().splitlines()), highlight=False)


def standard_output() -> Console:
    """Console of results; wide where nobody's terminal says how wide."""
    return Console(width=None if sys.stdout.isatty() else 1000)
