"""A shortened matrix of faults: whatever dies, hangs or breaks, nothing is lost or there twice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from system import ROOT

ON_ONE_HOST = ("learner killed", "actor killed", "learner hangs", "full disk", "slow learner")
ACROSS_A_LINK = ("link down", "loss 5 %, delay 50 ms")


def matrix(*names: str) -> dict[str, object]:
    """The figures of benchmarks/faults.py for these scenarios."""
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--quick"]
    for name in names:
        command += ["--only", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600.0, check=False)
    assert done.stdout.strip(), done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(figures)


def check(figures: dict[str, object], names: tuple[str, ...]) -> None:
    assert figures["transitions_lost"] == figures["transitions_duplicated"] == 0
    scenarios = figures["scenarios"]
    assert isinstance(scenarios, dict)
    assert scenarios.keys() == set(names)
    for counts in scenarios.values():
        assert counts["made"] > 50
        assert counts["in the replay file"] + counts["unacknowledged"] >= counts["made"]


def test_processes_that_die_or_hang_and_full_disks_cost_no_accepted_transition() -> None:
    check(matrix(*ON_ONE_HOST), ON_ONE_HOST)


def test_broken_and_bad_links_cost_no_accepted_transition() -> None:
    figures = matrix(*ACROSS_A_LINK)
    if figures["not_run"]:
        pytest.skip(f"not tested, for want of the right to make namespaces: {figures['not_run']}")
    check(figures, ACROSS_A_LINK)
