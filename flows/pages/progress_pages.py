"""Live progress of long stages in the UI: a ring with step, loss, images done and the time left."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tag2mask.flows.dag.node import Node
from tag2mask.flows.dag.outcome import Failure, Listener, Outcome
from tag2mask.flows.engine.console import TimeLeft, clock
from tag2mask.flows.pages.markdown import text
from tag2mask.flows.pages.run_pages import page_key, warn_on_failure

LONG_SECONDS = 2.0
"""A stage that has worked for less has no page of progress."""
UPDATE_SECONDS = 5.0
"""Shortest time between two updates of a page: each is an event that the server keeps."""


@dataclass
class _Page:
    """The progress of one stage."""

    started: float
    left: TimeLeft = field(default_factory=TimeLeft)
    artifact: UUID | None = None
    updated: float = 0.0
    share: float = 0.0
    """Done of all, 0-100."""


class ProgressPages:
    """A listener that shows long stages in the UI, and passes on all that it hears.

    It is called in the thread of the stage's task, so that the pages belong to that task.
    """

    def __init__(self, dataset: str, other: Listener) -> None:
        """`other` hears everything too."""
        self.dataset = dataset
        self.other = other
        self.lock = threading.Lock()
        self.pages: dict[str, _Page] = {}

    def started(self, node: Node, threads: int) -> None:
        """Begin to count the time."""
        with self.lock:
            self.pages[node.name] = _Page(time.monotonic())
        self.other.started(node, threads)

    def progress(self, node: Node, done: int, total: int, note: str) -> None:
        """Make or update the page if it is time."""
        self.other.progress(node, done, total, note)
        page, now = self.pages[node.name], time.monotonic()
        page.left.update(done, total, now)
        page.share = 100.0 * done / max(total, 1)
        due = page.started + LONG_SECONDS if page.artifact is None else page.updated + UPDATE_SECONDS
        if now >= due:
            page.updated = now
            progress = ", ".join(filter(None, (f"{done}/{total}", note, str(page.left))))
            self._write(node, page, progress)

    def _write(self, node: Node, page: _Page, progress: str) -> None:
        described = text(f"{node.name}: {progress}")
        with warn_on_failure(f"the progress of {node.name}"):
            if page.artifact is None:
                key = page_key(self.dataset, node.name, "progress")
                made: Any = create_progress_artifact(page.share, key=key, description=described)
                page.artifact = made
            else:
                update_progress_artifact(page.artifact, progress=page.share, description=described)

    def finished(self, outcome: Outcome) -> None:
        """Bring the page to its end."""
        page = self.pages.pop(outcome.node.name, None)
        if page is not None and page.artifact is not None:
            page.share = 100.0
            self._write(outcome.node, page, f"done in {clock(outcome.seconds)}")
        self.other.finished(outcome)

    def failed(self, failure: Failure) -> None:
        """Leave the page where the stage failed, and say so."""
        page = self.pages.pop(failure.node.name, None)
        if page is not None and page.artifact is not None:
            self._write(failure.node, page, f"failed: {failure.message}")
        self.other.failed(failure)
