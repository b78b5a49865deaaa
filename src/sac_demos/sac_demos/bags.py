"""Bags of ROS 2, whoever recorded them: folders with metadata.yaml, or single files."""

from __future__ import annotations

import tempfile
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
import zstandard

from sac_demos.bag_folder import METADATA
from sac_demos.episodes import UNFINISHED
from sac_demos.mcap_file import MAX_RECORD, Channel, McapFile, Message, everything, unpacked_zstd
from sac_demos.sqlite_file import SqliteFile

MAX_METADATA = 16 * 2**20  # bytes
MAX_DEPTH = 50  # of what is nested in metadata; rosbag2 needs seven
MAX_UNPACKED = 64 * 2**30  # bytes of a file that was compressed as a whole
SUFFIXES = (".mcap", ".db3")


class BagError(ValueError):
    """A bag cannot be used; one line that names it."""


def find_bags(paths: Iterable[Path]) -> list[Path]:
    """Every bag at or below these paths, in the order of their names.

    Raises:
        BagError: at one of the paths there is none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        below = [path] if _is_bag(path) else []
        if not below and path.is_dir():
            below = [one for one in sorted(path.rglob("*")) if one.is_dir() and _is_bag(one)]
        if not below:
            raise BagError(
                f"{path}: expected a bag of ROS 2 (a folder with metadata.yaml, a .mcap or .db3 "
                "file), or a folder of bags"
            )
        found += below
    return found


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        return (path / METADATA).exists() or path.name.endswith(UNFINISHED)
    return path.suffix in SUFFIXES


class Bag:
    """One bag: what its metadata say, and its messages.

    Attributes:
        custom_data: text by key, as rosbag2 keeps it.
        times: of each topic the receive times (ns) of all messages that were passed so far.
    """

    def __init__(self, path: Path) -> None:
        """Reads the metadata.

        Raises:
            BagError: it was cut, or its metadata are broken.
        """
        self.path = Path(path)
        self.custom_data: Mapping[str, str] = {}
        self.times: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._compression = ""
        self._files = [self.path]
        if self.path.is_dir():
            self._read_metadata()

    def _read_metadata(self) -> None:
        path = self.path / METADATA
        if self.path.name.endswith(UNFINISHED) or not path.is_file():
            raise BagError(
                f"{self.path}: it was cut: ros2 run sac_demos recover {self.path.parent}"
            )
        try:
            if path.stat().st_size > MAX_METADATA:
                raise ValueError(f"expected at most {MAX_METADATA} bytes")
            information = _read_yaml(path.read_bytes(), "rosbag2_bagfile_information")
            names = [str(name) for name in information["relative_file_paths"]]
            self._compression = str(information.get("compression_mode") or "").lower()
            self.custom_data = _texts(information)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise BagError(f"{path}: not what rosbag2 writes: {one_line(error)}") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise BagError(f"{path}: no YAML: {one_line(error)}") from error
        self._files = [self._inside(name) for name in names]

    def _inside(self, name: str) -> Path:
        """A file of the bag; old bags name it with their folder before it."""
        path = self.path / Path(name).name
        if Path(name).name in ("", ".", ".."):
            raise BagError(f"{self.path}: a file named {name!r:.80}")
        return path

    def messages(self, wanted: Callable[[Channel], bool] = everything) -> Iterator[Message]:
        """Every message of the topics that are wanted, in the order of each file.

        Raises:
            BagError: the bag is broken; the messages before were given.
        """
        try:
            for path in self._files:
                with ExitStack() as stack:
                    yield from self._messages(self._plain(path, stack), wanted)
        except BagError:
            raise
        except (OSError, ValueError, MemoryError, zstandard.ZstdError) as error:
            raise BagError(_named(self.path, error)) from error

    def _plain(self, path: Path, stack: ExitStack) -> Path:
        """The file itself, unpacked if it was compressed as a whole."""
        if path.suffix not in (".zstd", ".zst"):
            return path
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bag_to_rlds_")))
        unpacked = folder / path.stem
        with path.open("rb") as packed, unpacked.open("wb") as file:
            for part in zstandard.ZstdDecompressor().read_to_iter(packed):
                file.write(part)
                if file.tell() > MAX_UNPACKED:
                    raise BagError(f"{path}: it unpacks to more than {MAX_UNPACKED} bytes")
        return unpacked

    def _messages(self, path: Path, wanted: Callable[[Channel], bool]) -> Iterator[Message]:
        kind: Any = SqliteFile if path.suffix == ".db3" else McapFile
        file = kind(path, self.times)
        is_compressed = self._compression == "message"
        for message in file.messages(wanted):
            if is_compressed:
                message = message._replace(data=unpacked_zstd(message.data, MAX_RECORD))
            yield message
        if not self.custom_data and isinstance(file, McapFile):
            self._take_inner_metadata(file)

    def _take_inner_metadata(self, file: McapFile) -> None:
        """A file without its folder may hold a copy of the metadata."""
        text = file.metadata.get("rosbag2", {}).get("serialized_metadata", "")
        try:
            self.custom_data = _texts(_read_yaml(text[:MAX_METADATA].encode()))
        except (yaml.YAMLError, RecursionError, ValueError, AttributeError):
            return


WANTED = ("relative_file_paths", "compression_mode", "custom_data")


def _read_yaml(text: bytes, *path: str) -> dict[str, Any]:
    """What is `WANTED` of a bag's metadata, from below `path`; most of the text is of no interest.

    Raises:
        ValueError: there is no mapping, or it is nested too deep.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:  # libyaml would go on until the stack is used up, and die
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
    loader = yaml.CSafeLoader(text)
    node = loader.get_single_node()
    for key in path:
        node = _entries(node).get(key)
    entries = _entries(node)
    return {key: loader.construct_document(entries[key]) for key in WANTED if key in entries}


def _entries(node: Any) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("expected a mapping")
    return {str(key.value): value for key, value in node.value}


def _texts(information: Mapping[str, Any]) -> dict[str, str]:
    custom_data = information.get("custom_data") or {}
    return {str(key): str(value) for key, value in custom_data.items()}


def one_line(error: BaseException) -> str:
    """What an error says, short and without breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _named(path: Path, error: BaseException) -> str:
    """An error as one line that names the bag."""
    line = one_line(error)
    return line if str(path) in line else f"{path}: {line}"
