"""The documents: their commands and links hold, what they repeat is current, and the worked example works."""

import re
import shlex
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer

from tag2mask.configs import schema
from tag2mask.flows.cli.main import app
from tag2mask.tasks.building.build import Order, build, input_digest
from tag2mask.tasks.catalog import CATALOG, Stage
from tag2mask.tasks.dataset.label_maps import read_labels, write_labels
from tag2mask.tasks.store.artifact import Recipe
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.tasks.drawn_files import save_image, write_tags
from tests.tasks.indexed_folder import index

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = ".venv/bin/tag2mask"
README_BYTES = 8192


def commands(document: Path) -> list[str]:
    """Command lines of our program in a document's shell blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.S | re.M)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(PROGRAM)]


ALL_COMMANDS = [line for document in DOCUMENTS for line in commands(document)]


@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_every_command_parses(line: str) -> None:
    """A command line of the documents names a command and options that exist, with values that they take."""
    program = typer.main.get_command(app)
    arguments = shlex.split(line.split(" > ")[0], comments=True)[1:]
    with program.make_context("tag2mask", list(arguments), resilient_parsing=False) as context:
        name, command, rest = program.resolve_command(context, context._protected_args + context.args)  # type: ignore[attr-defined]
        assert command is not None, name
        with command.make_context(name, rest, parent=context) as inner:
            assert inner.params and not inner.args


def test_the_documents_name_stages_that_exist() -> None:
    """The commands are many enough to be worth checking, and each stage that they name exists."""
    assert len(commands(ROOT / "README.md")) >= 3 and len(ALL_COMMANDS) >= 20
    stages = [
        word for line in ALL_COMMANDS for word in re.findall(r"(?:--only|--from|--until|--force|why) (\w+)", line)
    ]
    assert {stage for stage in stages if stage.islower()} <= set(CATALOG)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    """A relative link or picture names a file of the repository, and an anchor a heading of its page."""
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        page = document.parent / place if place else document
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document: Path) -> None:
    """A test that a page names is there, but for the one that the worked example would have."""
    files = [path.as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    for name in re.findall(r"[\w/]*\btest_\w+\.py", document.read_text(encoding="utf-8")):
        assert name.endswith("test_ignore_outlines.py") or any(path.endswith(f"/{name}") for path in files), name


def test_the_readme_stays_short() -> None:
    """The README has at most 8 KB: one page that invites, the rest stands in docs."""
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_every_page_is_named_in_the_readme() -> None:
    """The README leads to every page of the documentation."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in text] == []


def test_what_documents_repeat_from_the_code_is_current() -> None:
    """The table of stages and the diagram of the DAG are what the code says (`make docs` writes them anew)."""
    spec = spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    assert spec and spec.loader
    refresh = module_from_spec(spec)
    spec.loader.exec_module(refresh)
    for path in refresh.documents():
        text = path.read_text(encoding="utf-8")
        assert refresh.refreshed(text) == text, path
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{stage}` |" in readme for stage in CATALOG) and "flowchart" in readme


def worked_example() -> dict[str, str]:
    """Name -> code of the blocks of docs/add-a-stage.md."""
    text = (ROOT / "docs" / "add-a-stage.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^```python (\w+)\n(.*?)^```", text, re.S | re.M))


def test_the_worked_example_of_a_stage_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of docs/add-a-stage.md is built by the store, found again, and passes its own test."""
    code = worked_example()
    settings: dict[str, Any] = {"__name__": "tag2mask.configs.sections.labels"}
    exec(code["settings"], settings)
    monkeypatch.setattr(schema, "Outlines", settings["Outlines"], raising=False)
    module = ModuleType("tag2mask.tasks.ignore_outlines")
    exec(code["stage"] + code["test"], module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(CATALOG, "ignore_outlines", eval(code["record"], {"Stage": Stage}))
    module.test_outlines_are_ignored()

    for seed, image_id in enumerate("ab"):
        save_image(tmp_path / "raw" / "photos" / f"{image_id}.png", seed)
        write_labels(tmp_path / "labels" / f"{image_id}.png", np.tri(12, 16, dtype=np.uint8))
    write_tags(tmp_path / "raw" / "labels.csv", {"a": "cat", "b": "dog"})
    dataset = index(tmp_path / "raw", minimum_images=1)
    config = settings["Outlines"]()
    store, inputs = Store(tmp_path / "store").create(), {"dataset": dataset, "labels": tmp_path / "labels"}
    digests = {name: input_digest(store, "ignore_outlines", name, path) for name, path in inputs.items()}
    recipe = Recipe("ignore_outlines", CATALOG["ignore_outlines"].version, config.recipe(), digests)
    order = Order(store.root, recipe, config, inputs)
    made = build(order, StageRuntime())
    assert set(made.files()) == {"a.png", "b.png"}
    assert (read_labels(made.path / "a.png") == 255).any()
    assert build(order, StageRuntime()).digest == made.digest
    assert "ignore_outlines" in code["edge"]
