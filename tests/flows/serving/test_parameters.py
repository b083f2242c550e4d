"""What the parameters of a flow may name: the files and the store that are served, and nothing else."""

from pathlib import Path

import pytest

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.flows.serving.parameters import SERVED, Served, check_paths, load_permitted, served_here
from tests.flows.served import write_tiny


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """One settings file with its drawn dataset."""
    return Served(tmp_path / "store", {write_tiny(tmp_path): ()})


def test_the_file_that_is_served_is_read(served: Served) -> None:
    """The settings file that `serve` was started with may be named, by any spelling of its path, and be changed."""
    (path,) = served.files
    dotted = path.parent / "data" / ".." / path.name
    assert load_permitted(dotted, ["mining.foreground=0.4"], served.root, served).mining.foreground == 0.4


def test_a_link_to_a_settings_file_starts_where_the_link_lies(served: Served, tmp_path: Path) -> None:
    """Of a served link relative paths start at the link's folder, as for `run`, by whichever path a form names it."""
    (path,) = served.files
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / path.name)
    path.symlink_to(moved)
    usual = load_config(path)
    for named in (path, moved):
        config = load_permitted(named, [], served.root, served)
        assert config == usual
        check_paths(config, named, served)


@pytest.mark.parametrize("name", ["/etc/passwd", "other.yaml", "tiny.yaml/../other.yaml"])
def test_no_other_file_is_read(served: Served, tmp_path: Path, name: str) -> None:
    """Another file is refused by its name, whatever is in it, and none of it comes back."""
    (tmp_path / "other.yaml").write_text("secret: line")
    with pytest.raises(ConfigError, match="is none of the files that are served") as raised:
        load_permitted(tmp_path / name, [], served.root, served)
    assert "secret" not in str(raised.value)


def test_no_other_store_is_written(served: Served, tmp_path: Path) -> None:
    """Another folder of artifacts is refused, and named beside the right one."""
    (path,) = served.files
    with pytest.raises(ConfigError, match=f"root: {tmp_path}/other is not .*: {tmp_path}/store"):
        load_permitted(path, [], tmp_path / "other", served)


@pytest.mark.parametrize(
    "change",
    [
        "dataset.root=/etc",
        "dataset.tags=/etc/passwd",
        "dataset.tags=../../../etc/passwd",
        "dataset.train_split=../secret.txt",
        "saliency_set.root=/etc",
        "classifier.backbone.weights=/etc/passwd",
    ],
)
def test_no_change_leads_elsewhere(served: Served, change: str) -> None:
    """A change that reads a file outside of what the settings file names is refused."""
    (path,) = served.files
    with pytest.raises(ConfigError, match="is not in a folder that .*tiny.yaml names"):
        load_permitted(path, [change], served.root, served)


def test_a_link_out_of_the_dataset_leads_elsewhere(served: Served, tmp_path: Path) -> None:
    """A link in the dataset that points out of it counts as what it points to."""
    (path,) = served.files
    (tmp_path / "data" / "out").symlink_to("/etc")
    with pytest.raises(ConfigError, match="is not in a folder"):
        load_permitted(path, ["dataset.tags=out/passwd"], served.root, served)


def test_other_files_of_the_dataset_may_be_read(served: Served, tmp_path: Path) -> None:
    """Another table in the dataset's own folder may be named, and so may what the deployments' own changes name."""
    (path,) = served.files
    assert load_permitted(path, ["dataset.tags=other.csv"], served.root, served).dataset.tags == "other.csv"
    wider = Served(served.root, {path: [f"dataset.root={tmp_path / 'elsewhere'}"]})
    assert load_permitted(path, [f"dataset.root={tmp_path / 'elsewhere'}"], served.root, wider)


def test_the_command_line_may_name_anything(served: Served, tmp_path: Path) -> None:
    """Where nothing is served, a person with a shell asks, who may read all that they may read."""
    (path,) = served.files
    config = load_permitted(path, [f"dataset.root={tmp_path}"], tmp_path, None)
    check_paths(config, path, None)


def test_what_is_served_passes_through_the_environment(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written into the variable is read from it, relative paths from the current folder on."""
    assert served_here() is None
    monkeypatch.setenv(SERVED, served.as_json())
    assert served_here() == served
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SERVED, Served(Path("store"), {Path("tiny.yaml"): ()}).as_json())
    assert served_here() == served


@pytest.mark.slow
def test_a_form_leads_nowhere_else(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage's form whose section names a file elsewhere fails the run before anything is read."""
    from tag2mask.flows import single_stage as stage_flows

    (path,) = served.files
    monkeypatch.setattr(stage_flows, "permitted", lambda: served)
    form = load_config(path).dataset.replaced(root=Path("/etc"), tags="passwd")
    state = stage_flows.stage_flow("index_dataset").fn(form, path, root=served.root)
    assert state.is_failed() and "is not in a folder" in state.message
