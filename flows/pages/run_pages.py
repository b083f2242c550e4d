"""What a run leaves in the UI: tables, pictures and links, under keys that build a history from night to night."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from tag2mask.flows.dag.delivery import DATASET
from tag2mask.flows.dag.outcome import Outcome, RunResult
from tag2mask.flows.dag.planning import PlanRow
from tag2mask.flows.dag.record import RunRecord
from tag2mask.flows.engine.console import headline
from tag2mask.flows.engine.session import Session
from tag2mask.flows.pages.markdown import code, table, text
from tag2mask.tasks.store.store import Store

REPORTS_URL = "TAG2MASK_REPORTS_URL"
"""Environment variable: where `serve` shows the reports, since a browser follows no file address from a page."""
logger = logging.getLogger(__name__)


@contextmanager
def warn_on_failure(what: str) -> Iterator[None]:
    """Let a page that the server did not take cost a warning, not the stage."""
    try:
        yield
    except Exception as error:  # whatever the client raises: the work itself is done
        logger.warning("%s was not shown: %s: %s", what, type(error).__name__, str(error)[:200])


def page_key(*parts: str) -> str:
    """Key of a page: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


class RunPages:
    """The pages of one run."""

    def __init__(self, dataset: str, before: RunRecord | None = None) -> None:
        """`dataset` is the configuration's name; figures are set beside those of the run before."""
        self.dataset = dataset
        self.before = before

    def show_plan(self, rows: Sequence[PlanRow]) -> None:
        """What the run is going to do, and why."""
        cells = [[text(row.node.name), text(row.state), text(row.reason)] for row in rows]
        with warn_on_failure("the plan"):
            create_markdown_artifact(
                f"# plan {text(self.dataset)}\n\n{table(['stage', 'state', 'why'], cells)}\n",
                key=page_key(self.dataset, "plan"),
                description="What will run, and why",
            )

    def stage_made(self, session: Session, outcome: Outcome) -> None:
        """Figures and pictures of a stage that was built; one that was cached has them from when it was built."""
        if outcome.cached:
            return
        name = outcome.node.name
        with warn_on_failure(f"the figures of {name}"):
            figures = metrics_table(outcome.artifact.manifest["metrics"], self._metrics_before(session.store, name))
            facts = f"{code(outcome.artifact.label)}, made in {outcome.seconds:.1f} s"
            create_markdown_artifact(
                f"# {text(name)} {text(self.dataset)}\n\n{figures}\n\n{facts}\n",
                key=page_key(self.dataset, name, "metrics"),
                description=text(headline(outcome)) or None,
            )
        with warn_on_failure(f"the pictures of {name}"):
            self._show_pictures(session, outcome)

    def _show_pictures(self, session: Session, outcome: Outcome) -> None:
        from tag2mask.tasks.report.contact_sheet import contact_sheet

        index = session.result.outcomes.get(str(outcome.node.inputs.get("dataset", DATASET)))
        if index is None or outcome is index:
            return
        sheet = contact_sheet(index.artifact.path, outcome.node.facts, outcome.artifact.path)
        if sheet is not None:
            name, label = outcome.node.name, outcome.artifact.label
            create_markdown_artifact(  # an image artifact would spell out the whole address below the picture
                f"# {text(name)} {text(self.dataset)}\n\n![{text(label)}]({sheet})\n",
                key=page_key(self.dataset, name, "pictures"),
                description=text(label),
            )

    def _metrics_before(self, store: Store, name: str) -> Mapping[str, Any]:
        label = self.before.labels.get(name) if self.before else None
        found = store.find(*label.split("/")) if label else None
        return found.manifest["metrics"] if found else {}

    def show_result(self, result: RunResult, report: Path | None) -> None:
        """How every stage ended, and where the report is."""
        rows = [_result_row(outcome) for outcome in result.outcomes.values()]
        rows += [
            [text(name), "failed" if failure.started else "not run", "", text(failure.message), ""]
            for name, failure in result.failures.items()
        ]
        shown = table(["stage", "state", "seconds", "result", "artifact"], rows, numbers=(2,))
        with warn_on_failure("the table of stages"):
            create_markdown_artifact(
                f"# stages {text(self.dataset)}\n\n{shown}\n",
                key=page_key(self.dataset, "stages"),
                description="How every stage ended",
            )
        if report is None:
            return
        with warn_on_failure("the link to the report"):
            address, key = report_address(report), page_key(self.dataset, "report")
            if address is None:
                create_markdown_artifact(f"{code(report)} (`tag2mask serve` makes it a link)", key=key)
            else:
                create_link_artifact(address, link_text=f"report of {text(self.dataset)}", key=key)


def _result_row(outcome: Outcome) -> list[str]:
    artifact = outcome.artifact
    state = "kept" if outcome.kept else "cached" if outcome.cached else "built"
    seconds = artifact.manifest["seconds"] if outcome.cached else outcome.seconds
    return [text(outcome.node.name), state, f"{seconds:.1f}", text(headline(outcome)), code(artifact.label)]


def report_address(report: Path) -> str | None:
    """Address of a report (`<root>/render_report/<key>/<name>.html`) where one is served."""
    base = os.environ.get(REPORTS_URL)
    return None if not base else "/".join([base.rstrip("/"), *report.parts[-2:]])


def metrics_table(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """A Markdown table of figures, beside those of the run before where there are any."""
    if not now:
        return "no figures"
    rows = [
        [code(name), text(value), *([text(before.get(name))] if before else [])]  # names and values of data among them
        for name, value in now.items()
    ]
    return table(["figure", "now", *(["before"] if before else [])], rows, numbers=(1, 2))
