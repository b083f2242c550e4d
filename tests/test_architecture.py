"""The arrows between folders and rooms, read from the imports; how large a room may be."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tag2mask.tasks.catalog import CATALOG

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "models", "tasks", "flows")
ARROWS: dict[str, tuple[str, ...]] = {
    "configs.sections": ("configs.errors",),
    "configs": ("configs.sections",),
    "models.parts": (),
    "models.backbones": ("models.parts",),
    "models.saliency": ("models.backbones", "models.losses"),
    "models.cosaliency": ("models.backbones", "models.losses"),
    "models": ("models.parts", "models.backbones"),
    "tasks.catalog": (),
    "tasks.store": ("configs", "tasks.catalog"),
    "tasks.building": ("tasks.executors",),
    "tasks.executors": ("tasks.store",),
    "tasks.dataset": ("tasks.executors",),
    "tasks.tags.readers": ("tasks.dataset",),
    "tasks.tags": ("tasks.tags.readers",),
    "tasks.algorithms": ("tasks.dataset",),
    "tasks.metrics": ("tasks.dataset",),
    "tasks.networks": ("tasks.dataset", "models", "models.saliency", "models.cosaliency"),
    "tasks.report": ("tasks.dataset",),
    "tasks.demo": ("tasks.dataset",),
    "tasks.training": ("tasks.networks", "tasks.algorithms"),
    "tasks.systems": ("tasks.training",),
    "tasks.groups": ("tasks.training",),
    "tasks.prediction": ("tasks.networks", "tasks.algorithms"),
    "tasks.mask_codecs": ("tasks.dataset",),
    "tasks.confidence": ("tasks.metrics",),
    "tasks.corrections": ("tasks.mask_codecs", "tasks.tags.readers"),
    "tasks.release": ("tasks.report", "tasks.metrics"),
    "tasks.exports": ("tasks.release", "tasks.mask_codecs"),
    "tasks": (
        "tasks.systems",
        "tasks.groups",
        "tasks.report",
        "tasks.tags",
        "tasks.confidence",
        "tasks.corrections",
    ),
    "flows.dag": ("tasks", "tasks.building", "tasks.demo", "tasks.prediction", "tasks.exports"),
    "flows.engine": ("flows.dag",),
    "flows.serving": ("flows.engine",),
    "flows.pages": ("flows.engine",),
    "flows.using": ("flows.engine",),
    "flows": ("flows.serving", "flows.pages", "flows.using"),
    "flows.people": ("flows.dag",),
    "flows.cli": ("flows", "flows.people"),
}
"""Room -> rooms that it may import from, and with each the rooms below that one.  `tasks` are the stages, `flows` the
flows themselves, `models` the networks of the published method; a single file is named where it lies below its room."""
LIBRARIES = {
    "configs": {"pydantic", "yaml"},
    "models": {"timm", "torch", "torchvision"},
    "tasks": {
        "jinja2",
        "markupsafe",
        "numpy",
        "pandas",
        "PIL",
        "pycocotools",
        "scipy",
        "skimage",
        "torch",
        "torchvision",
    },
    "flows": {"pydantic", "rich", "yaml"},
}
"""Folder -> third-party packages that it may import."""
FURTHER_LIBRARIES = {
    "flows": {"prefect"},
    "tasks.executors.dask_workers": {"distributed"},
    "flows.engine.dask_cluster": {"dask", "distributed"},
    "flows.serving": {"prefect"},
    "flows.pages": {"prefect"},
    "flows.cli": {"typer"},
    "flows.engine.stage_process": {"torch"},
    "tasks.prediction.model_export": {"onnx", "onnxruntime"},
}
"""Room or file -> packages that it may import besides those of its folder."""
WITHOUT_ARRAYS = ("tasks.catalog", "tasks.store", "tasks.building")
"""Rooms in which numpy and torch have no business: looking something up must not wait for them."""
WITHOUT_FILES = {"io", "json", "os", "pathlib", "pickle", "shutil", "tempfile"}
"""Modules of the standard library that a network has no business with."""
MOST_FILES, MOST_LINES = 12, 1500
"""Of a room; the stages are counted by the method."""


def files(folder: str) -> list[Path]:
    """Source files of a folder."""
    return sorted((ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    """Dotted name of a file below the package, e.g. `tasks.building.build`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The longest name of the table that a module is or lies in."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(name for name in names if name in ARROWS or name == parts[0])


def below(room: str) -> set[str]:
    """A room and all that it may import from."""
    return {room}.union(*(below(other) for other in ARROWS.get(room, ())))


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, each by the name of its file."""
    known = {module_of(file) for folder in FOLDERS for file in files(folder)}
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "tag2mask" and rest:
            yield rest if rest in known else rest.rpartition(".")[0] or rest


def faults(path: Path) -> list[str]:
    """Imports of a file that the table does not have."""
    module = module_of(path)
    room, folder = room_of(module), module.split(".")[0]
    allowed = below(room)
    found = [name for name in own_imports(path) if room_of(name) not in allowed and name not in allowed]
    libraries = LIBRARIES[folder].union(FURTHER_LIBRARIES.get(room, ()), FURTHER_LIBRARIES.get(module, ()))
    libraries -= {"numpy", "torch"} if room in WITHOUT_ARRAYS else set()
    for name in imports(path):
        top = name.partition(".")[0]
        if top == "tag2mask":
            continue
        if top in FOLDERS or (top not in sys.stdlib_module_names and top not in libraries):
            found.append(name)
        elif folder == "models" and top in WITHOUT_FILES:
            found.append(name)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_follow_the_arrows(folder: str) -> None:
    """A file imports only from its own room and those below it, and only the libraries that belong there."""
    assert files(folder)
    assert {module_of(path): found for path in files(folder) if (found := faults(path))} == {}


def test_the_arrows_have_no_circle() -> None:
    """The table can be sorted, and so can the files by what they import."""
    tuple(graphlib.TopologicalSorter(ARROWS).static_order())
    graph = {module_of(path): set(own_imports(path)) for folder in FOLDERS for path in files(folder)}
    lazy = {"flows.run", "flows.cli.main"}  # commands register themselves; the engine is chosen when a run starts
    tuple(graphlib.TopologicalSorter({name: found - {name} - lazy for name, found in graph.items()}).static_order())


def test_stages_do_not_import_stages() -> None:
    """Stages meet on disk: a stage imports what they share, and what they share imports no stage."""
    for path in files("tasks"):
        assert not {name.removeprefix("tasks.") for name in own_imports(path)} & set(CATALOG), path


def test_a_planted_violation_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk sees a forbidden import, also inside of a function."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "models").mkdir()
    planted = tmp_path / "models" / "net.py"
    planted.write_text("import torch\ndef f():\n    import numpy\n    from tag2mask.tasks import x\n    import json\n")
    assert faults(planted) == ["tasks", "tasks", "numpy", "json"]
    (tmp_path / "tasks" / "store").mkdir(parents=True)
    planted = tmp_path / "tasks" / "store" / "lookup.py"
    planted.write_text("import torch\nfrom tag2mask.tasks.dataset.images import resize\nimport pandas\n")
    (tmp_path / "tasks" / "dataset").mkdir()
    (tmp_path / "tasks" / "dataset" / "images.py").write_text("")
    assert set(faults(planted)) == {"tasks.dataset.images", "torch"}


def test_stage_names_stand_in_the_catalog_and_the_dag_alone() -> None:
    """Elsewhere a stage is known by its record or its node, so that a new one is added in one place."""
    found = {}
    for path in [path for folder in ("configs", "tasks", "flows") for path in files(folder)]:
        if room_of(module_of(path)) in ("tasks.catalog", "flows.dag"):
            continue
        literals = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        named = {text for text in literals if isinstance(text, str) and text.partition("-")[0] in CATALOG}
        if named:
            found[module_of(path)] = named
    assert found == {}


def test_the_catalog_says_which_stages_hand_their_images_to_the_executor() -> None:
    """A stage is spread where it calls what goes through the run's executor, and nowhere else."""
    through = {"process_in_parallel", "map_in_parallel", "ingest_all", "StepFiles"}
    for name, stage in CATALOG.items():
        tree = ast.parse((ROOT / "tasks" / f"{name}.py").read_text(encoding="utf-8"))
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert bool(named & through) == stage.spread, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_rooms_stay_small(folder: str) -> None:
    """No room has more than 12 files or 1,500 lines, the stages themselves apart."""
    rooms = {path.parent for path in files(folder)} - {ROOT / "tasks"}
    sizes = {}
    for room in rooms:
        sources = [path for path in room.glob("*.py") if path.name != "__init__.py"]
        sizes[module_of(room)] = (len(sources), sum(len(path.read_text().splitlines()) for path in sources))
    assert {room: size for room, size in sizes.items() if size[0] > MOST_FILES or size[1] > MOST_LINES} == {}


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
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
