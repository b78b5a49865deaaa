#!/usr/bin/env python3
"""What is lost when processes die, hang or lie, links break, and disks are full.

Each scenario runs a real learner and real actors (100 steps/s, `counting:Counting-v0`, whose
transitions can all be told apart), does its worst, lets the queues drain, and counts the rows of
the replay file against the steps that the environments have noted.

lost: rows that were acknowledged and are not in the file; of actors that ended in order also rows
that were made and are neither in the file nor among those the actor reports as overflowed.
duplicated: rows that are there more than once. wrong: rows that no actor has made like this.
unacknowledged: rows that died with a killed actor, before the learner had acknowledged them.
recovery: the longest time from the repair (the restart of a process, the return of link or disk) to
the next acknowledged row. tick gap: the longest time between two environment steps of an actor on
a clock; it steps in bursts of 0.1 s. idle gap: the same of a process that does nothing but wake up
every 0.1 s; a tick gap of that size is the machine's.

    make bench B=faults ARGS=--quick
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common import fail, print_json, print_table
from network import Link, NetworkUnavailable

try:
    from faulty_system import STEP_RATE, Counts, Failed, System, until
except ImportError as error:
    fail(f"{error}: set up the workspace first (make setup)")

REAL_RATE = 10.0  # steps/s of a robot: what the long interruption is shortened by
QUEUE = 2000  # rows an actor keeps
DRAINING = 120.0  # s at most


@dataclass(frozen=True)
class Options:
    """How long and how often."""

    kills: int
    calm: float  # s without a fault
    down: float  # s without link, disk or an answer
    long_down: float  # s, of a robot's time
    actors: int  # of the slow learner, as fast as they can
    hostile: int  # messages


# Scenarios.


def _start(system: System) -> None:
    system.start_learner()
    system.start_actor()
    system.flows()


def undisturbed(system: System, options: Options) -> None:
    _start(system)
    time.sleep(options.calm)  # what is measured is that nothing happens
    system.trains()


def learner_killed(system: System, options: Options) -> None:
    """At random moments, of its work or of its start, the very first included."""
    rng = random.Random(1)
    system.start_actor()
    system.start_learner()
    for number in range(options.kills):
        if number % 2:
            system.repaired()
            system.flows()
            time.sleep(rng.uniform(0.0, 1.0))
        else:
            time.sleep(rng.uniform(0.0, 5.0))
        system.learner.kill()
        system.start_learner()
    system.repaired()
    system.flows()
    system.trains()


def actor_killed(system: System, options: Options) -> None:
    """At random moments, of its work or of its start."""
    rng = random.Random(2)
    system.start_learner()
    system.start_actor()
    for number in range(options.kills):
        if number % 2:
            system.repaired(system.actors[-1])
            system.flows()
            time.sleep(rng.uniform(0.0, 1.0))
        else:
            time.sleep(rng.uniform(0.0, 3.0))
        system.kill_actor()
        system.start_actor()
    system.repaired(system.actors[-1])
    system.flows()
    system.trains()


def both_killed(system: System, options: Options) -> None:
    rng = random.Random(3)
    _start(system)
    for _ in range(max(1, options.kills // 2)):
        time.sleep(rng.uniform(0.0, 1.0))
        system.kill_actor()
        system.learner.kill()
        system.start_learner()
        system.repaired(system.start_actor())
        system.flows()
    system.trains()


def learner_late(system: System, options: Options) -> None:
    actor = system.start_actor()
    until(lambda: system.made(actor) > 500, "steps without a learner")
    system.start_learner()
    system.repaired()
    system.flows()


def actor_late(system: System, options: Options) -> None:
    system.start_learner()
    learner = system.learner
    until(lambda: "no actor publishes there" in learner.text, "the learner misses its actors")
    system.repaired(system.start_actor())
    system.flows()


def learner_hangs(system: System, options: Options) -> None:
    _start(system)
    system.learner.send(signal.SIGSTOP)
    with system.nothing_arrives():
        time.sleep(options.down)
    system.learner.send(signal.SIGCONT)
    system.repaired()
    system.flows()
    system.trains()


def link_down(system: System, options: Options) -> None:
    _link_down(system, options.down)


def link_down_long(system: System, options: Options) -> None:
    _link_down(system, options.long_down * REAL_RATE / STEP_RATE)


def _link_down(system: System, seconds: float) -> None:
    assert system.link is not None
    _start(system)
    system.link.up = False
    with system.nothing_arrives():
        time.sleep(seconds)
    system.link.up = True
    system.repaired()
    system.flows()


def bad_link(system: System, options: Options) -> None:
    assert system.link is not None
    system.link.loss, system.link.delay = 0.05, 0.05
    _start(system)
    time.sleep(options.calm)
    system.flows()


def slow_learner(system: System, options: Options) -> None:
    """Actors as fast as they can wait for it and lose nothing; one on a clock never waits."""
    system.start_learner()
    system.start_actor()
    for number in range(options.actors):
        system.start_actor(f"fast_actor_{number}", rate=0.0)
    system.flows(QUEUE)
    system.trains()
    system.drains(DRAINING)


def full_disk(system: System, options: Options) -> None:
    _start(system)
    with _no_room(system):
        until(lambda: "cannot be written" in system.learner.text, "the learner says so")
        with system.nothing_arrives():
            time.sleep(options.down / 2)
            system.trains()
    system.repaired()
    system.flows()


@contextlib.contextmanager
def _no_room(system: System) -> Iterator[None]:
    if not system.run.is_mount():
        with system.learner.without_larger_files():
            yield
        return
    filler = system.run / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


def fuzz(system: System, options: Options) -> None:
    _start(system)
    system.run_peer("lie", str(options.hostile))
    system.flows()
    system.trains()


@dataclass(frozen=True)
class Scenario:
    """What happens, and on what."""

    happens: Callable[[System, Options], None]
    needs_link: bool = False
    needs_disk: bool = False
    learner: dict[str, object] = dataclasses.field(default_factory=dict)  # parameters
    overflows: bool = False  # it must, or what it shows is not shown


SCENARIOS = {
    "undisturbed": Scenario(undisturbed),
    "learner killed": Scenario(learner_killed),
    "actor killed": Scenario(actor_killed),
    "both killed": Scenario(both_killed),
    "learner late": Scenario(learner_late),
    "actor late": Scenario(actor_late),
    "learner hangs": Scenario(learner_hangs),
    "link down": Scenario(link_down, needs_link=True),
    "link down long": Scenario(link_down_long, needs_link=True, overflows=True),
    "loss 5 %, delay 50 ms": Scenario(bad_link, needs_link=True),
    "slow learner": Scenario(
        slow_learner,
        learner={"hidden_units": 256, "utd_ratio": 32, "replay_capacity": 5_000_000},
    ),
    "full disk": Scenario(full_disk, needs_disk=True),
    "fuzz": Scenario(fuzz),
}


@contextlib.contextmanager
def _small_disk(run: Path) -> Iterator[str]:
    """A small disk for the run folder where we may mount one; what the disk is."""
    run.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(run)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield "RLIMIT_FSIZE in place of a small disk, which we may not mount"
        return
    try:
        yield "a tmpfs of 8 MB"
    finally:
        subprocess.run(["umount", "-l", str(run)], check=False)


def run(name: str, options: Options) -> tuple[Counts, str]:
    """One scenario in a folder of its own: its counts, and a note on how it was made."""
    scenario = SCENARIOS[name]
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(Link()) if scenario.needs_link else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        note = ""
        if scenario.needs_disk:
            note = stack.enter_context(_small_disk(folder / "run"))
        system = System(folder, link, **{"replay_capacity": 500_000, **scenario.learner})
        stack.callback(system.close)
        system.watch()
        try:
            scenario.happens(system, options)
            system.finish()
            counts = system.count()
            if scenario.overflows and not counts.overflowed:
                raise Failed("no queue overflowed")
        except Failed:
            print(system.output(), file=sys.stderr)
            raise
        return counts, note


HEADER = [field.name.replace("_", " ") for field in dataclasses.fields(Counts)]


def _cells(name: str, counts: Counts) -> list[str]:
    cells = [name]
    for value in dataclasses.astuple(counts):
        if value is None:
            cells.append("-")
        else:
            cells.append(f"{value:.2f} s" if isinstance(value, float) else f"{value:,}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few kills, short waits")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="one scenario")
    chosen = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # and clean up
    options = Options(20, 20.0, 10.0, 300.0, 16, 10_000)
    names = list(SCENARIOS)
    if chosen.quick:
        options = Options(2, 5.0, 4.0, 300.0, 4, 1_000)
        names.remove("link down long")
    results: dict[str, Counts] = {}
    notes, not_run, failed = [], {}, {}
    for name in chosen.only or names:
        try:
            results[name], note = run(name, options)
        except NetworkUnavailable as error:
            not_run[name] = f"no network of namespaces here: {error}"
            note = f"NOT RUN, {not_run[name]}"
        except Failed as error:
            failed[name] = str(error)
            note = f"FAILED: {error}"
        if name in results:
            print("  ".join(_cells(name, results[name])), flush=True)
        if note:
            notes.append(f"{name}: {note}")
    if "link down long" in results:
        seconds = options.long_down * REAL_RATE / STEP_RATE
        notes.append(
            f"link down long: {options.long_down:g} s at {REAL_RATE:g} steps/s, shortened by a "
            f"factor of {STEP_RATE / REAL_RATE:g}; of {seconds * STEP_RATE:,.0f} rows and those "
            f"until the nodes have found each other again a queue keeps {QUEUE:,}"
        )
    print()
    print_table(["scenario", *HEADER], [_cells(*result) for result in results.items()])
    print("\n".join(notes))
    sums = {
        f"transitions_{what}": sum(getattr(counts, what) for counts in results.values())
        for what in ("lost", "duplicated", "wrong")
    }
    scenarios = {name: dataclasses.asdict(counts) for name, counts in results.items()}
    print_json({**sums, "scenarios": scenarios, "not_run": not_run, "failed": failed})
    if any(sums.values()) or failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
