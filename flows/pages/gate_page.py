"""The page of the gate before a release: signals, thresholds and verdict of the labels that a run measured."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact

from tag2mask.configs.schema import Config
from tag2mask.flows.dag.outcome import RunResult
from tag2mask.flows.engine.publishing import publishes, weigh_measured
from tag2mask.flows.pages.markdown import code, table, text
from tag2mask.flows.pages.run_pages import page_key, warn_on_failure
from tag2mask.tasks.release.gate import signal_rows
from tag2mask.tasks.store.store import Store

if TYPE_CHECKING:
    from tag2mask.tasks.release.publish import Publication

UNDECIDED = "tag2mask publish decides, and also looks at what changed since the release before."


def show_measured(config: Config, store: Store, result: RunResult) -> None:
    """What the gate would say of labels that a run has measured and does not publish; cached ones had their page."""
    with warn_on_failure("the gate's page"):
        judgement = None if publishes(config, result) else weigh_measured(config, store, result)
        if judgement is None:
            return
        verdict = "would be kept back" if judgement.failures else "would be released, as far as was measured"
        lines = [*(f"failed: {failure}" for failure in judgement.failures), UNDECIDED]
        _show(config.name, verdict, judgement.as_json()["signals"], lines)


def show_publication(name: str, publication: "Publication") -> None:
    """What the gate said of labels that a run brought to it."""
    verdict, *lines = publication.lines()
    with warn_on_failure("the gate's page"):
        _show(name, verdict, publication.release.manifest["gate"]["signals"], lines)


def _show(name: str, verdict: str, signals: Sequence[Mapping[str, Any]], lines: Sequence[str]) -> None:
    listed = "\n".join(f"- {text(line)}" for line in lines)
    create_markdown_artifact(
        f"# release gate {text(name)}\n\n**{text(verdict)}**\n\n{signal_table(signals)}\n\n{listed}\n",
        key=page_key(name, "gate"),
        description=text(verdict),
    )


def signal_table(signals: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table from the `signals` of a judgement; what keeps the set from being released is bold."""
    rows = []
    for signal, (title, value, threshold, verdict) in zip(signals, signal_rows(signals), strict=True):
        required = signal["required"] and verdict == "not measured"
        shown = f"**{verdict}{', but required' if required else ''}**" if required or verdict == "failed" else verdict
        rows.append([code(title), value, threshold, shown])
    return table(["signal", "value", "threshold", "verdict"], rows, numbers=(1, 2))
