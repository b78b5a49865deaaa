"""Files of rosbag2's sqlite3 storage, also of a writer that was killed: SQLite undoes the rest."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sac_demos.bag_folder import QOS, TYPE_HASH
from sac_demos.mcap_file import MAX_RECORD, Channel, Message, Schema, everything


class SqliteError(ValueError):
    """A file is no bag of rosbag2, or broken; one line that names it."""


class SqliteFile:
    """Reads a .db3 file. It has one time for each message, that of its arrival."""

    def __init__(self, path: Path, times: Mapping[str, array[int]] | None = None) -> None:
        """`times`: arrival times (ns) of every message are appended to it, by topic."""
        self.path = Path(path)
        self._times = times

    def messages(self, wanted: Callable[[Channel], bool] = everything) -> Iterator[Message]:
        """Every message of the topics that are wanted, in the order of arrival.

        Raises:
            SqliteError: it is no bag, or broken.
        """
        if not self.path.is_file():
            raise SqliteError(f"{self.path}: expected a regular file")
        try:
            # A journal beside it has to be played back, which is writing: not with mode=ro.
            with_journal = self.path.with_name(f"{self.path.name}-journal").exists()
            mode = "rw" if with_journal else "ro"
            database = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode={mode}", uri=True)
            try:
                database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_RECORD)
                database.execute("PRAGMA trusted_schema = OFF")
                database.row_factory = sqlite3.Row
                if not (_has_table(database, "topics") and _has_table(database, "messages")):
                    raise SqliteError(f"{self.path}: no bag of rosbag2: it lacks their tables")
                yield from self._messages(database, wanted)
            finally:
                database.close()
        except SqliteError:
            raise
        except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
            raise SqliteError(f"{self.path}: no bag of rosbag2, or broken: {error}") from error

    def _messages(
        self, database: sqlite3.Connection, wanted: Callable[[Channel], bool]
    ) -> Iterator[Message]:
        channels = self._channels(database)
        if self._times is not None:
            for number, stamp in database.execute("SELECT topic_id, timestamp FROM messages"):
                self._times[channels[number].topic].append(int(stamp))
        chosen = [number for number, channel in channels.items() if wanted(channel)]
        marks = ",".join("?" * len(chosen))
        rows = database.execute(
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({marks}) ORDER BY timestamp",
            chosen,
        )
        for number, stamp, data in rows:
            yield Message(channels[number], 0, int(stamp), int(stamp), bytes(data))

    def _channels(self, database: sqlite3.Connection) -> dict[int, Channel]:
        definitions: dict[str, tuple[str, bytes]] = {}
        if _has_table(database, "message_definitions"):
            for row in database.execute("SELECT * FROM message_definitions LIMIT 10000"):
                text = str(row["encoded_message_definition"]).encode()
                definitions[str(row["topic_type"])] = str(row["encoding"]), text
        channels = {}
        for row in database.execute("SELECT * FROM topics LIMIT 10000"):
            known = set(row.keys())
            columns = (QOS, "offered_qos_profiles"), (TYPE_HASH, "type_description_hash")
            kind = str(row["type"])
            channels[int(row["id"])] = Channel(
                str(row["name"]),
                Schema(kind, *definitions.get(kind, ("", b""))),
                str(row["serialization_format"]),
                {key: str(row[column]) for key, column in columns if column in known},
            )
        return channels


def _has_table(database: sqlite3.Connection, name: str) -> bool:
    """Whether there is such a table: a view could ask for anything."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return database.execute(query, (name,)).fetchone() is not None
