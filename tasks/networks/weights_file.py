"""A look at a file of weights without torch and without unpickling it: is it a state dict that torch will read?

A run that needs weights after hours of work refuses a broken file before them.  What passes here is still read with
`weights_only`.
"""

import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

from tag2mask.tasks.networks.model_folder import WeightsError

LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How files began that torch wrote before version 1.6: a pickle of its magic number."""
LEGACY_PICKLES = 4
"""Of such a file: magic number, protocol, system, and the state dict."""
HARMLESS = frozenset({"torch", "collections", "_codecs", "numpy"})
"""Packages whose names stand in the pickle of a state dict."""
UNREADABLE = "is not a state dict that can be read safely"
REMEDY = "write it with torch.save(network.state_dict(), path)"


def check_weights_file(path: Path) -> None:
    """Refuse a file that torch would not read as a state dict, in one line.

    Raises:
        WeightsError: missing, empty, cut short, of another format, or with objects or code in it.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; name a state dict's file")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: {UNREADABLE}, it is empty; fetch it again")
    try:
        with path.open("rb") as file:
            names = _names_in_zip(file) if zipfile.is_zipfile(file) else _names_in_legacy(file)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise WeightsError(f"{path}: {UNREADABLE}, it is cut short or something else; fetch it again") from error
    foreign = sorted(name for name in names if name.split(".")[0] not in HARMLESS)
    if foreign:
        raise WeightsError(f"{path}: {UNREADABLE}, it holds the code {foreign[0]!r:.80}; {REMEDY}")


def _names_in_zip(file: BinaryIO) -> set[str]:
    """Names that the pickle of torch's present format asks for."""
    with zipfile.ZipFile(file) as archive:
        (member,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return _names(archive.read(member))


def _names_in_legacy(file: BinaryIO) -> set[str]:
    """Names that the pickles of torch's old format ask for."""
    file.seek(0)
    if file.read(len(LEGACY)) != LEGACY:
        raise ValueError("another format")
    file.seek(0)
    return {name for _ in range(LEGACY_PICKLES) for name in _names(file)}


def _names(pickled: bytes | BinaryIO) -> set[str]:
    """`module.name` of everything that a pickle would import, without unpickling it."""
    found, words = set(), [""]
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            found.add(str(argument).replace(" ", "."))
        elif operation.name == "STACK_GLOBAL":  # its two names were put on the stack before
            found.add(".".join(words[-2:]))
        elif isinstance(argument, str):
            words.append(argument)
    return found
