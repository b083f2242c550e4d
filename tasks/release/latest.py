"""Which release is the one to use: the link `latest`, and the history of what it has pointed to.

Each is held to the other and to the releases that there are, so that neither can be lost, replaced or damaged without a
word, and no roll back is undone by it.  Which release was meant only a person knows then: publishing stops, and
`tag2mask latest NAME N` says it and writes both anew.

The history is sealed like a manifest: {entries: [{latest, why, when}, …] oldest first, seal}.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask.tasks.store.files import read_json, sync_files, write_json
from tag2mask.tasks.store.manifest import DamagedArtifact, Fault, seal_of

LATEST, HISTORY = "latest", "history.json"
Entry = Mapping[str, Any]


class Latest:
    """The link and the history of one name.

    Args:
        folder: of the name's releases.
    """

    def __init__(self, folder: Path) -> None:
        self.name, self.link, self._file = folder.name, folder / LATEST, folder / HISTORY

    def number(self) -> int | None:
        """What the link points to; None without one.

        Raises:
            DamagedArtifact: it names no number, or is no link.
        """
        number, wrong = self._read_link()
        if wrong:
            raise DamagedArtifact(f"{self.link} {wrong}: `tag2mask latest {self.name} N` with a release that there is")
        return number

    def entries(self) -> list[Entry]:
        """What the link has pointed to, oldest first.

        Raises:
            DamagedArtifact: the file cannot be read, or was changed.
        """
        entries, wrong = self._read_history()
        if wrong:
            raise DamagedArtifact(f"{self._file} {wrong}")
        return entries

    def trusted(self) -> list[Entry]:
        """The entries; none where the history is not what it was."""
        return self._read_history()[0]

    def fault(self, numbers: Sequence[int]) -> Fault | None:
        """What is wrong with the link or the history.

        Args:
            numbers: of the releases that there are, rising.
        """
        (link, wrong_link), (entries, wrong_history) = self._read_link(), self._read_history()
        last = entries[-1]["latest"] if entries else None
        what = {LATEST: wrong_link, HISTORY: wrong_history}
        if link is not None and link not in numbers:
            what[LATEST] = f"points to {link}, which is no release"
        elif not entries:
            what[HISTORY] = wrong_history or ("is missing" if len(numbers) > 1 else "")
        elif numbers and link is None:
            what[LATEST] = wrong_link or f"is missing; last it pointed to {last}"
        elif numbers and link != last and (link != numbers[-1] or _listed(entries, link)):
            what[LATEST] = f"points to {link}, but last it was moved to {last}"
        return next((Fault(f"releases/{self.name}", file, wrong) for file, wrong in what.items() if wrong), None)

    def check(self, numbers: Sequence[int]) -> None:
        """Refuse to go on where a person has to say which release is meant.

        Raises:
            DamagedArtifact: link or history are not what they were; the message names the command that mends them.
        """
        fault = self.fault(numbers)
        if fault is not None and numbers:
            raise DamagedArtifact(f"{fault}: {self.remedy(numbers)}")

    def remedy(self, numbers: Sequence[int]) -> str:
        """How to mend what is wrong, with the release that is meant most likely."""
        if not numbers:
            return f"delete {self.link}, or publish again"
        known = [self._read_link()[0], *(entry["latest"] for entry in self._read_history()[0][-1:])]
        likely = next((number for number in known if number in numbers), numbers[-1])
        there = ", ".join(map(str, numbers))
        return f"say which release is to be used (of {there}), e.g. `tag2mask latest {self.name} {likely}`"

    def unsettled(self, numbers: Sequence[int]) -> bool:
        """Whether the newest release was committed and its publisher was killed before the history listed it."""
        return bool(numbers) and not _listed(self.entries(), numbers[-1])

    def point(self, number: int, why: str, entries: Sequence[Entry] | None = None) -> None:
        """Let the link point to a release, and write that down.

        Args:
            number: of the release.
            why: in the history.
            entries: of the history before this one; without it those that it has.

        Raises:
            DamagedArtifact: a folder stands where the link should be.
        """
        before = self.entries() if entries is None else entries
        if self.link.is_dir() and not self.link.is_symlink():
            raise DamagedArtifact(f"{self.link} is a folder, where the link should be: move it away")
        aside = self.link.with_name(f".{LATEST}.part")
        aside.unlink(missing_ok=True)
        os.symlink(str(number), aside)
        os.replace(aside, self.link)
        sync_files([], folders=[self.link.parent])
        history = {"entries": [*before, {"latest": number, "why": why, "when": now()}]}
        write_json(self._file, {**history, "seal": seal_of(history)})

    def _read_link(self) -> tuple[int | None, str]:
        """What the link points to, and what is wrong with it."""
        if not os.path.lexists(self.link):
            return None, ""
        if not self.link.is_symlink():
            return None, "is no symbolic link"
        target = os.readlink(self.link)
        number = int(target) if target.isascii() and target.isdecimal() else None
        return number, "" if number is not None else f"points to {target!r}, which is no release"

    def _read_history(self) -> tuple[list[Entry], str]:
        """What the history says, and what is wrong with it."""
        try:
            history = read_json(self._file)
            sound = isinstance(history, dict) and history.get("seal") == seal_of(history)
            return (list(history["entries"]), "") if sound else ([], "was changed after it was written")
        except FileNotFoundError:
            return [], ""
        except (OSError, ValueError) as error:
            return [], f"cannot be read ({error})"


def now() -> str:
    """The time in UTC, fine enough to tell the order of two publications."""
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1e6):06d}Z"


def _listed(entries: Sequence[Entry], number: int | None) -> bool:
    return any(entry["latest"] == number for entry in entries)
