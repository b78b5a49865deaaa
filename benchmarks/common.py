"""What the benchmarks share: the machine in words, fair timing, a table and a last JSON line."""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_RESERVED: list[socket.socket] = []


def machine(threads: int | Sequence[int] | None = None) -> dict[str, Any]:
    """CPU model, usable cores, threads and, where PyTorch is loaded, its version."""
    description: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "python": sys.version.split()[0],
    }
    if "torch" in sys.modules:
        description["torch"] = sys.modules["torch"].__version__
    return description


def has_cpu_flag(*flags: str) -> bool:
    """Whether the processor names one of these features in /proc/cpuinfo."""
    return not set(flags).isdisjoint(_cpu_info("flags").split())


def interleaved(
    units: Mapping[str, Callable[[], object]], repeats: int, seconds: float
) -> dict[str, list[float]]:
    """Calls per second of each unit: in turn, ``repeats`` times, about ``seconds`` each.

    Taking turns lets a change of the machine's speed hit every unit alike: compare within a
    repeat. Each unit is called once before, unmeasured.
    """
    for unit in units.values():
        unit()
    rates: dict[str, list[float]] = {name: [] for name in units}
    for _ in range(repeats):
        for name, unit in units.items():
            calls, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds:
                unit()
                calls += 1
            rates[name].append(calls / elapsed)
    return rates


def median_ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    """Median over the repeats of one unit's rate over another's in the same repeat."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


def free_domain() -> int:
    """A ROS domain that nobody here is in, this process's own until it ends."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    ports = {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    taken = {(port - 7400) // 250 for port in ports}
    free = [number for number in range(1, 102) if number not in taken]  # below the ephemeral ports
    for number in random.SystemRandom().sample(free, len(free)):
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            port.bind(("127.0.0.1", 7400 + 250 * number + 249))  # the domain's last, used by nobody
        except OSError:  # another run has just drawn this domain
            port.close()
            continue
        _RESERVED.append(port)
        return number
    fail("every ROS domain from 1 to 101 is in use on this machine; end what runs there")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        print(first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others), sep="  ")
    print()


def print_json(figures: Mapping[str, Any], threads: int | Sequence[int] | None = None) -> None:
    """The benchmark's last line: its figures and the machine, as one JSON object."""
    print(json.dumps({**figures, "machine": machine(threads)}, sort_keys=True), flush=True)


def rounded(value: float, digits: int = 4) -> float:
    """The value with this many significant digits."""
    return float(f"{value:.{digits}g}")


def fail(message: str) -> NoReturn:
    """Ends the benchmark with one line."""
    sys.exit(f"error: {message}")


def _cpu_model() -> str:
    return _cpu_info("model name") or os.uname().machine


def _cpu_info(key: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
