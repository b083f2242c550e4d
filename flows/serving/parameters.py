"""What the parameters of a flow may name: whoever may fill in a form must not read files with it.

`serve` says by an environment variable which settings files and which store it is for.  A run that was started from a
deployment may name no other, and may lead the settings to no file that they do not name themselves.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tag2mask.configs.load import ConfigError, load_config
from tag2mask.configs.schema import Config
from tag2mask.flows.dag.build import build_dag

SERVED = "TAG2MASK_SERVED"
"""Environment variable of the processes that carry out runs of deployments: what these may name, in JSON."""


@dataclass(frozen=True)
class Served:
    """What deployments are for."""

    root: Path
    """Folder of the artifact store."""
    files: Mapping[Path, Sequence[str]]
    """Settings file -> changes that its deployments make, `section.key=value`."""
    dask: str = ""
    """Address of the Dask cluster that deployments may use."""

    def spelled(self, path: Path) -> Path:
        """A settings file as it was named to `serve`: relative paths in it start there, were it a link elsewhere.

        Raises:
            ConfigError: it is none of those that are served.
        """
        for known in self.files:
            if known.resolve() == path.resolve():
                return known
        raise ConfigError(f"config_path: {path} is none of the files that are served: {_listed(self.files)}")

    def as_json(self) -> str:
        """Text for the environment variable `SERVED`."""
        files = {str(path): [*changes] for path, changes in self.files.items()}
        return json.dumps({"root": str(self.root), "files": files, "dask": self.dask})


def served_here() -> Served | None:
    """What the environment says; paths in it may start at the current folder.  None where it says nothing."""
    text = os.environ.get(SERVED)
    if text is None:
        return None
    content = json.loads(text)
    files = {Path(path).absolute(): tuple(changes) for path, changes in content["files"].items()}
    return Served(Path(content["root"]).resolve(), files, content.get("dask", ""))


def load_permitted(config_path: Path, changes: Sequence[str], root: Path, served: Served | None) -> Config:
    """The settings that the parameters of a flow ask for.

    Args:
        config_path: settings file.
        changes: `section.key=value`.
        root: folder of the artifact store.
        served: what the parameters may name; None: anything, as on the command line.

    Raises:
        ConfigError: they name something else, or the settings are wrong.
    """
    if served is None:
        return load_config(config_path, changes)
    path = served.spelled(config_path)
    if root.resolve() != served.root:
        raise ConfigError(f"root: {root} is not the store that is served: {served.root}")
    config = load_config(path, changes)
    check_paths(config, path, served)
    return config


def permitted_dask(dask: str, served: Served | None) -> str:
    """The Dask cluster that the parameters of a flow ask for: workers of this machine, or the one that is served.

    Args:
        dask: `local`, `local:4`, an address, or nothing.
        served: what the parameters may name; None: anything, as on the command line.

    Raises:
        ConfigError: another address; whoever answers there could send any code.
    """
    if served is not None and "://" in dask and dask != served.dask:
        raise ConfigError(f"dask: {dask} is not the cluster that is served: {served.dask or 'none is'}")
    return dask


def check_paths(config: Config, path: Path, served: Served | None) -> None:
    """Refuse settings that read a file outside of what their settings file names.

    Args:
        config: the settings as they were changed.
        path: their settings file.
        served: what may be named; None: anything.

    Raises:
        ConfigError: a file lies elsewhere; the message names the setting.
    """
    if served is None:
        return
    path = served.spelled(path)
    known = _raw_inputs(load_config(path, served.files[path]))
    for given in sorted(_raw_inputs(config) - known):
        if not any(given.is_relative_to(place) for place in known):
            raise ConfigError(f"{given} is not in a folder that {path} names: a form may not; name it in the file")


def _raw_inputs(config: Config) -> set[Path]:
    """Files and folders that a run would read, and the folders of its sets."""
    read = {path for node in build_dag(config) for path in node.inputs.values() if isinstance(path, Path)}
    roots = {config.dataset.root} | ({config.saliency_set.root} if config.saliency_set else set())
    return {path.resolve() for path in read | roots}


def _listed(paths: Mapping[Path, object]) -> str:
    return ", ".join(sorted(map(str, paths)))
