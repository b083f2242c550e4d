"""Settings written as YAML with comments."""

from pathlib import Path

import pytest

from tag2mask.configs.document import WIDTH, commented_yaml, relative
from tag2mask.configs.load import load_config
from tag2mask.configs.schema import Classifier, Config

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_what_is_written_loads_back(file: Path, tmp_path: Path) -> None:
    """Every packaged settings file comes back as the same settings."""
    config = load_config(file)
    (tmp_path / "written.yaml").write_text(commented_yaml(config, tmp_path), encoding="utf-8")
    assert load_config(tmp_path / "written.yaml") == config


def test_every_field_has_its_comment() -> None:
    """Above each key stands its description, in lines of bearable length."""
    lines = commented_yaml(Classifier(), Path.cwd()).splitlines()
    for name in Classifier.model_fields:
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[at - 1].startswith("# "), name
    assert max(map(len, lines)) <= WIDTH


def test_every_field_of_the_settings_is_described() -> None:
    """No field is without a description, in any section."""
    waiting: list[type] = [Config]
    while waiting:
        section = waiting.pop()
        for name, field in section.model_fields.items():  # type: ignore[attr-defined]
            assert field.description, f"{section.__name__}.{name}"
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            waiting += [kind for kind in kinds if isinstance(kind, type) and hasattr(kind, "model_fields")]


def test_paths_are_written_relative_where_they_lie_near(tmp_path: Path) -> None:
    """A path in or beside the file's folder is relative, any other absolute."""
    assert relative(tmp_path / "here" / "data", tmp_path / "here") == "data"
    assert relative(tmp_path / "beside", tmp_path / "here") == "../beside"
    assert relative(Path("/elsewhere/data"), tmp_path / "here") == "/elsewhere/data"


def test_odd_values_survive(tmp_path: Path) -> None:
    """Names that look like other YAML values come back as they were."""
    changes = ["dataset.tags='yes'", "dataset.images='1.5'", "dataset.classes=['no', '007', 'a:b']"]
    config = load_config(FILES[0], changes)
    (tmp_path / "written.yaml").write_text(commented_yaml(config, tmp_path), encoding="utf-8")
    assert load_config(tmp_path / "written.yaml") == config
