"""Write what the documents repeat from the code anew: the table of stages and the diagram of the DAG (`make docs`)."""

import re
from pathlib import Path

from tag2mask.configs.load import load_config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.diagram import mermaid
from tag2mask.tasks.catalog import CATALOG

ROOT = Path(__file__).parents[1]


def stages_table() -> str:
    """A Markdown table of all stages, from their records in the catalog."""
    rows = [f"| `{stage.name}` | {stage.does} | {stage.writes} |" for stage in CATALOG.values()]
    return "\n".join(["| stage | what it does | writes |", "|---|---|---|", *rows])


def stages_summary() -> str:
    """A Markdown table of all stages in two columns."""
    rows = [f"| `{stage.name}` | {stage.does} |" for stage in CATALOG.values()]
    return "\n".join(["| stage | what it does |", "|---|---|", *rows])


def diagram() -> str:
    """The DAG of the settings for VOC as a block of Mermaid."""
    return f"```mermaid\n{mermaid(build_dag(load_config(ROOT / 'configs' / 'voc-mini.yaml')))}```"


def refreshed(text: str) -> str:
    """A document with its marked blocks, `<!-- NAME -->` to `<!-- end NAME -->`, written anew."""
    for name, make in (("stages", stages_table), ("summary", stages_summary), ("diagram", diagram)):
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.S)
        text = block.sub(lambda match, make=make: f"{match[1]}{make()}\n{match[2]}", text)  # type: ignore[misc]
    return text


def documents() -> list[Path]:
    """All documents that are written by hand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


if __name__ == "__main__":
    for path in documents():
        path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
