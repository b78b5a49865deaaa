"""Mends bags that were cut: what the recorder's journal or a killed `ros2 bag record` left.

    ros2 run sac_demos recover demos/pick_cube

A journal becomes the bag that it was to be. Of other bags a whole copy is made beside, with
`_mended` at its end; they themselves stay as they are.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sac_demos.bag_folder import METADATA, write_bag
from sac_demos.episodes import INFORMATION, JOURNAL, UNFINISHED
from sac_demos.finisher import finish_bag, in_order
from sac_demos.mcap_file import MAGIC, McapFile, Message, lock
from sac_demos.sqlite_file import SqliteFile

MENDED = "_mended"


class InUse(Exception):
    """A bag is being recorded."""


@dataclass
class Salvage:
    """Gives every message up to where a file is broken, and remembers what it saw."""

    source: McapFile | SqliteFile
    messages: int = 0
    steps: int = 0
    first: int = 0  # ns
    last: int = 0
    why: str = ""  # it ends earlier than it should

    def __iter__(self) -> Iterator[Message]:
        try:
            for message in self.source.messages():
                self.messages += 1
                self.steps += message.channel.topic.endswith("sac/steps")
                self.first = self.first or message.log_time
                self.last = max(self.last, message.log_time)
                yield message
        except ValueError as error:
            self.why = str(error)

    def __str__(self) -> str:
        steps = f", {self.steps} transitions" if self.steps else ""
        return f"{self.messages} messages{steps}, {(self.last - self.first) / 1e9:.1f} s"


def find_cut(path: Path) -> Iterator[Path]:
    """Every folder at or below `path` with a bag that may have been cut."""
    for folder in (path, *sorted(one for one in path.rglob("*") if one.is_dir())):
        names = {one.name for one in folder.iterdir()}
        files = {one for one in names if one.endswith((".mcap", ".db3"))}
        is_whole = METADATA in names and not any(_lacks_end(folder / one) for one in files)
        if folder.name.endswith(UNFINISHED) or (files and not is_whole):
            yield folder


def _lacks_end(path: Path) -> bool:
    """Whether this is an MCAP file without its last bytes."""
    if path.suffix != ".mcap" or not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.read() != MAGIC


def mend(folder: Path) -> str:
    """Mend one bag; what was done.

    Raises:
        InUse: it is being recorded.
        ValueError: there is nothing in it that could be mended.
        OSError: it cannot be read or written.
    """
    if folder.name.endswith(UNFINISHED):
        return _mend_recording(folder)
    files = sorted(one for one in folder.iterdir() if one.suffix in (".mcap", ".db3"))
    target = folder.with_name(f"{folder.name}{MENDED}")
    if target.exists():
        return f"{target} is there already"
    parts = [Salvage(McapFile(one) if one.suffix == ".mcap" else SqliteFile(one)) for one in files]
    with _folder(target):
        write_bag(target, target.name, in_order(chain(*parts)), {"recovered": "true"})
        if not any(part.messages for part in parts):
            raise ValueError(parts[0].why or f"{folder}: it holds no message")
    return f"{target}: {'; '.join(str(part) for part in parts)}"


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A new folder, which is gone again after an exception."""
    path.mkdir()
    try:
        yield
    except BaseException:
        shutil.rmtree(path)
        raise


def _mend_recording(folder: Path) -> str:
    target = folder.with_name(folder.name.removesuffix(UNFINISHED))
    journal = folder / JOURNAL
    if not journal.exists():
        if not (folder / METADATA).exists():
            raise ValueError(f"{folder}: it holds neither a journal nor a bag")
        folder.rename(target)  # only its name was missing
        return f"{target}: it was whole"
    with _locked(journal):
        file = McapFile(journal)
        salvage = Salvage(file)
        if not any(True for _ in salvage):
            raise ValueError(salvage.why or f"{journal}: it holds no message")
        known = file.metadata.get(INFORMATION, {})
        if known.get("discarded") == "true":
            shutil.rmtree(folder)
            return f"{folder}: it was discarded, and is gone"
        complete = known.get("length") == str(salvage.steps)
        custom_data = {**known, "recovered": "true", "complete": str(complete).lower()}
        salvage = Salvage(McapFile(journal))
        finish_bag(journal, salvage, custom_data, target)
    return f"{target}: {salvage}"


@contextmanager
def _locked(journal: Path) -> Iterator[None]:
    file = os.open(journal, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        lock(file)
        yield
    except BlockingIOError as error:
        raise InUse(f"{journal.parent}: it is being recorded, and left alone") from error
    finally:
        os.close(file)


def main() -> None:
    """Mend every cut bag that is there; exit with 1 when one of them cannot be."""
    parser = argparse.ArgumentParser(prog="recover", description=__doc__.split("\n\n")[0])
    parser.add_argument("path", type=Path, nargs="+", help="a bag, or a folder of bags")
    failed = found = 0
    for path in parser.parse_args().path:
        if not path.is_dir():
            sys.exit(f"{path}: expected a folder, of one bag or of several")
        for folder in find_cut(path):
            found += 1
            try:
                print(mend(folder))
            except InUse as error:
                print(error)
            except (OSError, ValueError) as error:
                failed += 1
                print(f"{folder}: cannot be mended: {error}", file=sys.stderr)
    if not found:
        print("No bag was cut")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
