"""The house rules: what the linters cannot see."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tag2mask.configs.load import load_config
from tag2mask.flows.dag.build import build_dag
from tag2mask.tasks.catalog import CATALOG

ROOT = Path(__file__).parents[1]
LARGEST = 400_000
"""Bytes of a file in the repository."""


def git_files() -> list[Path]:
    """Files of the working tree that git knows or would add; without git, those that are not hidden."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here: nothing says what belongs to the tree")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str | None:
    """Contents of a text file; None for any other."""
    data = path.read_bytes()
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def functions_of(path: Path) -> Iterator[ast.FunctionDef]:
    """Test functions of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def sentence_fault(docstring: str | None) -> str:
    """What keeps a docstring from being one sentence; "" if nothing does."""
    if docstring is None:
        return "has no docstring"
    text = re.sub(r"`[^`]*`", "code", docstring)
    if "\n\n" in docstring or not text.endswith("."):
        return "is not one paragraph that ends with a full stop"
    return "has more than one sentence" if re.search(r"[.!?]\s+[A-Z]", text) else ""


def test_every_test_says_what_it_shows_in_one_sentence() -> None:
    """Each test function has a docstring of one sentence."""
    functions = {(path, f.name): f for path in (ROOT / "tests").rglob("test_*.py") for f in functions_of(path)}
    assert len(functions) > 100
    faults = {
        f"{path.relative_to(ROOT)}::{name}": fault
        for (path, name), function in functions.items()
        if (fault := sentence_fault(ast.get_docstring(function)))
    }
    assert faults == {}


@pytest.mark.parametrize(
    ("docstring", "sound"),
    [
        ("Maps are cut off.", True),
        ("With `a. B` in it.", True),
        ("A value of 0.5 is kept, e.g. here.", True),
        (None, False),
        ("No full stop", False),
        ("One. Two.", False),
        ("One.\n\nTwo", False),
    ],
)
def test_the_sentence_rule_sees_what_it_should(docstring: str | None, sound: bool) -> None:
    """The rule above lets single sentences pass and nothing else."""
    assert (sentence_fault(docstring) == "") == sound


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_every_settings_file_loads(file: str) -> None:
    """Each released settings file is valid, makes a DAG, and names every stage of it by its section."""
    nodes = build_dag(load_config(ROOT / "configs" / file))
    assert {node.stage for node in nodes} <= CATALOG.keys()
    assert nodes[-1].stage == ("predict_prior" if file == "saliency.yaml" else "render_report")


def test_every_stage_has_its_file_and_its_node() -> None:
    """The catalog, the files in `tasks`, and the DAG name the same stages."""
    stages = set(CATALOG)
    files = {path.stem for path in (ROOT / "tasks").glob("*.py")} - {"__init__"}
    variants: list[list[str]] = [
        [],
        ["saliency.targets=prior"],
        ["cosaliency.provider=icnet"],
        ["dataset.test_split=test.txt", "dataset.corrections=corrections"],
        ["initial_labels=cam_refinement", "next_labels=fusion", "deliver=best"],
        ["initial_labels=mining", "next_labels=masking"],
    ]
    runs = [build_dag(load_config(ROOT / "configs" / "demo.yaml", changes)) for changes in variants]
    nodes = {node.stage for run in runs for node in run}
    assert files == stages and nodes == stages


def package_name(requirement: str) -> str:
    """Normalized name of the package that a requirement is about."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def test_every_dependency_is_locked_by_name_and_version() -> None:
    """Each line of the lock file is `name==version`, without an address, and all direct dependencies are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [*project["dependencies"], *(r for rs in project["optional-dependencies"].values() for r in rs)]
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert "://" not in text and " @ " not in text
    loose = [line for line in lines if not re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?==[^\s=]+( ;|$)", line)]
    assert loose == []
    locked = {package_name(line): line for line in lines}
    assert [name for name in map(package_name, direct) if name not in locked] == []
    for requirement in map(Requirement, direct):
        version = re.search(r"==([^\s;]+)", locked[package_name(str(requirement))])
        assert version and version[1] in requirement.specifier, requirement


def test_every_room_is_installed() -> None:
    """The packages that are installed are the folders that hold code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = [
        init.parent for top in ("configs", "models", "tasks", "flows") for init in (ROOT / top).rglob("__init__.py")
    ]
    names = sorted(".".join(("tag2mask", *folder.relative_to(ROOT).parts)) for folder in [ROOT, *folders])
    assert sorted(project["tool"]["setuptools"]["packages"]) == names


def test_no_file_is_large() -> None:
    """No file of the repository has more than 400 kB."""
    assert {str(p.relative_to(ROOT)): p.stat().st_size for p in git_files() if p.stat().st_size > LARGEST} == {}


def test_no_file_names_a_place_of_one_machine() -> None:
    """No text of the repository holds an absolute path of somebody's machine."""
    places = "|".join(("work", "root", "home", "Users"))  # in pieces, so that this file does not find itself
    pattern = re.compile(rf"(?<![\w.>\])}}~-])/(?:{places})/\w")
    found = {}
    for path in git_files():
        text = text_of(path)
        lines = [line for line in (text or "").splitlines() if pattern.search(line)]
        if lines:
            found[str(path.relative_to(ROOT))] = lines[:3]
    assert found == {}


def test_every_section_of_the_settings_files_is_known() -> None:
    """The settings files name sections of the schema alone, and each tells its purpose in its first line."""
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# "), path
        sections = {name for name, value in yaml.safe_load(text).items() if isinstance(value, dict)}
        assert sections <= {stage.section for stage in CATALOG.values()}, path
