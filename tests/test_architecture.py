"""The arrows between the folders, read from the imports."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "models", "tasks", "flows")
ARROWS = {
    "configs": {"configs"},
    "models": {"models"},
    "tasks": {"tasks", "configs", "models"},
    "flows": {"flows", "tasks", "configs"},
}
"""Folder -> folders that it may import."""
LIBRARIES = {
    "configs": {"pydantic", "yaml"},
    "models": {"timm", "torch", "torchvision"},
    "tasks": {"numpy", "pandas", "PIL", "pycocotools", "pydensecrf", "scipy", "skimage", "torch", "torchvision"},
    "flows": {"prefect", "pydantic", "rich", "typer", "yaml"},
}
"""Folder -> third-party packages that it may import."""
WITHOUT_FILES = {"io", "json", "os", "pathlib", "pickle", "shutil", "tempfile"}
"""Modules of the standard library that a network has no business with."""
PREFECT_FILES = {
    "flows/deployments.py",
    "flows/pages/gate_page.py",
    "flows/serving/lost_runs.py",
    "flows/serving/missed_runs.py",
    "flows/regenerate.py",
    "flows/pages/progress_pages.py",
    "flows/pages/run_pages.py",
    "flows/serving/slots.py",
    "flows/single_stage.py",
    "flows/node_task.py",
}
TORCH_FILES = {"flows/engine/stage_process.py"}
"""Sets threads and determinism in a stage's own process."""


def files(folder: str) -> list[Path]:
    """Source files of a folder."""
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def faults(path: Path) -> list[str]:
    """Imports of a file that the architecture does not have."""
    name = path.relative_to(ROOT).as_posix()
    folder = name.split("/")[0]
    found = []
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top == "tag2mask":
            found += [] if rest.split(".")[0] in ARROWS[folder] | {""} else [module]
        elif top in FOLDERS:
            found.append(module)
        elif top not in sys.stdlib_module_names:
            allowed = LIBRARIES[folder] | ({"torch"} if name in TORCH_FILES else set())
            found += [] if top in allowed and (top != "prefect" or name in PREFECT_FILES) else [module]
        elif folder == "models" and top in WITHOUT_FILES:
            found.append(module)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_follow_the_arrows(folder: str) -> None:
    """A folder imports only those below it, and only the libraries that belong there."""
    assert files(folder)
    assert {path.name: found for path in files(folder) if (found := faults(path))} == {}


def test_stages_do_not_import_stages() -> None:
    """Stages meet on disk: a stage imports what they share, and what they share imports no stage."""
    stages = {path.stem for path in (ROOT / "tasks").glob("*.py")} - {"__init__"}
    for path in files("tasks"):
        named = {module.removeprefix("tag2mask.tasks.").split(".")[0] for module in imports(path)}
        assert not named & stages, path


def test_a_planted_violation_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk sees a forbidden import, also inside of a function."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "models").mkdir()
    planted = tmp_path / "models" / "net.py"
    planted.write_text("import torch\ndef f():\n    import numpy\n    from tag2mask.tasks import x\n    import json\n")
    assert faults(planted) == ["numpy", "tag2mask.tasks", "tag2mask.tasks.x", "json"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_stay_readable_in_one_sitting(folder: str) -> None:
    """No source file is longer than 300 lines."""
    assert {p.name: n for p in files(folder) if (n := len(p.read_text().splitlines())) > 300} == {}


def test_nothing_is_unpickled() -> None:
    """Data is never pickled, and never unpickled by numpy or torch."""
    for folder in FOLDERS:
        for path in files(folder):
            text = path.read_text()
            assert "allow_pickle=True" not in text and "weights_only=False" not in text, path
            assert "pickle" not in {module.split(".")[0] for module in imports(path)}, path
