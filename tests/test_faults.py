"""A shortened matrix of faults: whatever dies, hangs or breaks, nothing is lost or there twice."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import pytest
from system import ROOT, Start

ON_ONE_HOST = (
    "learner killed",
    "actor killed",
    "both killed",
    "learner hangs",
    "slow learner",
    "full disk",
    "fuzz",
)
ACROSS_A_LINK = ("link down", "loss 5 %, delay 50 ms")


def matrix(start: Start, *names: str) -> dict[str, Any]:
    """The figures of benchmarks/faults.py for these scenarios."""
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--quick"]
    for name in names:
        command += ["--only", name]
    program = start(*command)
    status = program.wait(500.0)
    assert status == 0, program.output
    figures: dict[str, Any] = json.loads(program.lines[-1])
    return figures


def check(figures: dict[str, Any], names: tuple[str, ...]) -> None:
    assert not figures["failed"]
    assert figures["scenarios"].keys() == set(names)
    for figure in ("lost", "duplicated", "wrong"):
        assert figures[f"transitions_{figure}"] == 0
    for name, counts in figures["scenarios"].items():
        stored = counts["in_the_replay_file"]
        assert stored > 50, name
        assert counts["made"] == stored + counts["overflowed"] + counts["unacknowledged"], name


def test_processes_that_die_hang_or_lie_and_full_disks_cost_no_accepted_transition(
    start: Start,
) -> None:
    figures = matrix(start, *ON_ONE_HOST)
    check(figures, ON_ONE_HOST)
    assert figures["scenarios"]["slow learner"]["overflowed"] == 0  # its actors wait for it


def test_broken_and_bad_links_cost_no_accepted_transition(start: Start) -> None:
    figures = matrix(start, *ACROSS_A_LINK)
    if figures["not_run"]:
        why = f"links that break are not tested: {figures['not_run']}"
        warnings.warn(why, stacklevel=1)  # a skipped test alone is a letter
        pytest.skip(why)
    check(figures, ACROSS_A_LINK)
