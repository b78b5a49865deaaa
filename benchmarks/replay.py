#!/usr/bin/env python3
"""Memory and speed of the replay buffer with 1,000,000 HalfCheetah transitions, and of its file.

Memory is what the process grows by while the buffer is made and filled, against the bytes of the
same transitions as float32 observation, action, reward and next observation and one byte each for
terminated and truncated. The file's insert includes its commit with the cursors of two actors.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from common import fail, interleaved, print_json, print_table, rounded

try:
    from sac_core.replay import ReplayBuffer
    from sac_core.replay_file import ReplayFile
except ImportError as error:
    fail(f"{error}: build the workspace and source its setup file first (make build)")

OBSERVATION_SIZE, ACTION_SIZE = 17, 6
RAW_BYTES = 4 * (2 * OBSERVATION_SIZE + ACTION_SIZE + 1) + 2
BATCH = 30  # transitions of one message from an actor
SAMPLE = 2_048  # rows of one learner step
STATE = {"actor_id": "sac_actor_0", "session": 2**62, "next_sequence": 10**6, "received": 10**6}


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def batch(rng: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    shapes = ((count, OBSERVATION_SIZE), (count, ACTION_SIZE), count, count)
    parts = [rng.standard_normal(shape, np.float32) for shape in shapes]
    return (*parts, rng.standard_normal((count, OBSERVATION_SIZE), np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200,000 transitions, short timing")
    options = parser.parse_args()
    transitions = 200_000 if options.quick else 1_000_000
    rng = np.random.default_rng(0)
    chunk = batch(rng, 1_000)
    # Everything but the buffer is paid for before the first reading.
    ReplayBuffer(1_000, OBSERVATION_SIZE, ACTION_SIZE).insert(*chunk)

    before = resident_bytes()
    replay = ReplayBuffer(transitions, OBSERVATION_SIZE, ACTION_SIZE)
    empty = resident_bytes() - before
    for _ in range(transitions // 1_000):
        replay.insert(*chunk)
    grown = resident_bytes() - before
    memory_ratio = grown / (transitions * RAW_BYTES)

    folder = tempfile.TemporaryDirectory(dir=".")
    path = Path(folder.name) / "replay.bin"
    sizes = OBSERVATION_SIZE, ACTION_SIZE
    file = ReplayFile(path, transitions, *sizes)
    file.state = {"sessions": [STATE] * 2}
    for _ in range(transitions // 1_000):
        file.insert(*chunk)
    file.close()
    began = time.perf_counter()
    file = ReplayFile(path, transitions, *sizes)
    open_s = time.perf_counter() - began
    assert len(file) == transitions and file.left_out == 0

    message = batch(rng, BATCH)
    rates = interleaved(
        {
            "sample": lambda: replay.sample(SAMPLE),
            "insert": lambda: replay.insert(*message),
            "sample from file": lambda: file.sample(SAMPLE),
            "insert into file": lambda: file.insert(*message),
        },
        repeats=3 if options.quick else 7,
        seconds=0.1 if options.quick else 0.3,
    )
    file.close()
    folder.cleanup()
    sample_us, insert_us, file_sample_us, file_insert_us = (
        1e6 / float(np.median(rate)) for rate in rates.values()
    )
    print_table(
        ("replay buffer", "value", "unit"),
        (
            ("transitions", f"{transitions:,}", ""),
            ("memory before the first transition", f"{empty / 1e6:.1f}", "MB"),
            ("memory when full", f"{grown / 1e6:.1f}", "MB"),
            ("memory over raw bytes", f"{memory_ratio:.4f}", ""),
            (f"sample {SAMPLE:,} rows", f"{sample_us:.0f}", "µs"),
            (f"insert {BATCH} rows", f"{insert_us:.1f}", "µs"),
            (f"sample {SAMPLE:,} rows from the file", f"{file_sample_us:.0f}", "µs"),
            (f"insert {BATCH} rows into the file", f"{file_insert_us:.1f}", "µs"),
            ("open the file, every row checked", f"{open_s:.2f}", "s"),
        ),
    )
    print_json(
        {
            "memory_ratio": rounded(memory_ratio),
            "transitions": transitions,
            "sample_2048_us": rounded(sample_us),
            "insert_30_us": rounded(insert_us),
            "file_sample_over_memory": rounded(file_sample_us / sample_us),
            "file_insert_30_us": rounded(file_insert_us),
            "open_seconds": rounded(open_s),
        },
        threads=1,
    )


if __name__ == "__main__":
    main()
