#!/usr/bin/env python3
"""What is lost when processes die, hang or lie, links break, and disks are full.

Each scenario runs a real learner and real actors (100 steps/s, `counting:Counting-v0`, whose
transitions can all be told apart), does its worst, lets the queues drain, and counts the rows of
the replay file against the steps that the environments have noted.

lost: rows that were acknowledged and are not in the file; of actors that ended in order also rows
that were made and are neither in the file nor among those the actor reports as overflowed.
duplicated: rows that are there more than once. unacknowledged: rows that died with a killed actor,
before the learner had acknowledged them. recovery: the longest time from the repair (the restart of
a process, the return of link or disk) to the next acknowledged row. tick gap: the longest time
between two environment steps of a living actor; the actor steps in bursts of 0.1 s.

    make bench B=faults ARGS=--quick
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import counting
import numpy as np
from common import fail, print_json, print_table
from network import Link, NetworkUnavailable

try:
    import rclpy

    from sac_core.replay_file import read_replay_file
    from sac_msgs.msg import ActorStatus, PolicyWeights, TransitionAck, TransitionBatch
    from sac_ros import qos
except ImportError as error:
    fail(f"{error}: set up the workspace first (make setup)")

STEP_RATE = 100.0  # of an actor
REAL_RATE = 10.0  # of a robot: what the long interruption is shortened by
QUEUE = 2000  # rows an actor keeps
SMALL = {"hidden_units": 16, "torch_threads": 1, "training_starts": 60, "checkpoint_period": 50}
PATIENCE = 60.0  # s for what must happen


class Process:
    """A started command whose output goes to a file."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.output = folder / f"output_{time.monotonic_ns()}"
        with self.output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ctrl-C; what does not end is killed."""
        if self.lives:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20.0)
            except subprocess.TimeoutExpired:
                self.kill()


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience:g} s: {what}")
        time.sleep(0.02)


@dataclass
class Actor:
    """One process of an actor."""

    process: Process
    tag: int
    was_killed: bool = False

    @property
    def session(self) -> int:
        found = re.search(r"session ([0-9a-f]{16})", self.process.text)
        return int(found[1], 16) if found else -1


@dataclass
class Acknowledgements:
    """What the learner acknowledges, as a listener of its own hears it."""

    newest: dict[int, int] = field(default_factory=dict)  # by session
    progress: list[float] = field(default_factory=list)  # when any advanced

    def read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            session, sequence, moment = line.split()
            self.newest[int(session)] = int(sequence)
            self.progress.append(float(moment))


class System:
    """A learner and its actors in a folder and a ROS domain of their own."""

    def __init__(
        self, folder: Path, link: Link | None = None, **learner_parameters: object
    ) -> None:
        self.folder = folder
        self._parameters = {**SMALL, **learner_parameters}
        self._link = link
        self._notes = folder / "notes"
        self._notes.mkdir()
        self.run = folder / "run"
        self._environment = os.environ | {
            "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 101)),
            "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}",
            "COUNTING_LOG": str(self._notes),
            "OPENBLAS_NUM_THREADS": "1",
        }
        if link is not None:  # no shared memory beside the link
            self._environment |= {
                "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
                "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
            }
        self.learner: Process | None = None
        self.actors: list[Actor] = []
        self.others: list[Process] = []
        self.repairs: list[float] = []
        self.acknowledged = Acknowledgements()
        self._listener = subprocess.Popen(
            [*self._on(0), sys.executable, __file__, "--listen"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self.acknowledged.read, args=(self._listener,), daemon=True).start()

    def _on(self, host: int) -> list[str]:
        return self._link.command(host) if self._link else []

    def start_learner(self) -> None:
        parameters = {**self._parameters, "run_directory": str(self.run)}
        command = [*self._on(0), "ros2", "run", "sac_learner", "learner", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self.learner = Process(command, self.folder, self._environment)

    def start_actor(self, name: str = "actor", rate: float = STEP_RATE) -> Actor:
        tag = len(self.actors) + 1
        command = [*self._on(1), "ros2", "run", "sac_actor", "actor", "--ros-args"]
        command += ["-r", f"__node:={name}", "-p", "env_id:=counting:Counting-v0"]
        for parameter in (f"step_rate:={rate}", "eval_period:=0", "random_steps:=0"):
            command += ["-p", parameter]
        environment = self._environment | {"COUNTING_TAG": str(tag)}
        self.actors.append(Actor(Process(command, self.folder, environment), tag))
        return self.actors[-1]

    def start_peer(self, *arguments: str) -> Process:
        command = [sys.executable, __file__, *arguments]
        self.others.append(Process(command, self.folder, self._environment))
        return self.others[-1]

    def repaired(self) -> None:
        """From now on acknowledgements are expected again."""
        self.repairs.append(time.monotonic())

    def flows(self, rows: int = 60) -> None:
        """Wait until each living actor has `rows` more rows acknowledged."""
        wanted = {
            a.session: self.acknowledged.newest.get(a.session, 0) + rows
            for a in self.actors
            if a.process.lives and a.session >= 0
        }
        newest = self.acknowledged.newest
        until(
            lambda: all(newest.get(one, 0) >= number for one, number in wanted.items()),
            f"{rows} more acknowledged rows of each actor",
        )

    def started(self) -> None:
        """Wait until the newest actor's rows are acknowledged."""
        actor = self.actors[-1]
        until(lambda: self.acknowledged.newest.get(actor.session, 0) > 0, "the first rows")

    def made(self, actor: Actor) -> int:
        steps = counting.notes(self._notes, actor.tag)
        return int(steps[:, 0].max()) if len(steps) else 0

    def kill_learner(self) -> None:
        assert self.learner is not None
        self.learner.kill()

    def kill_actor(self, actor: Actor) -> None:
        actor.was_killed = True
        actor.process.kill()

    def finish(self) -> None:
        """Let what is queued arrive, and end everything."""
        living = [a for a in self.actors if a.process.lives]
        for actor in living:
            actor.process.send(signal.SIGINT)
        for actor in living:
            actor.process.end()
        if self.learner is not None:
            self.learner.end()

    def close(self) -> None:
        """End whatever is left."""
        for process in (self.learner, *(a.process for a in self.actors), *self.others):
            if process is not None and process.lives:
                process.kill()
        self._listener.kill()
        self._listener.wait()

    def count(self) -> dict[str, float]:
        """Rows made, acknowledged, in the file, lost and so on."""
        contents = read_replay_file(self.run / "replay.bin")
        rows = contents.rows[:, contents.layout.next_observation]
        ids = counting.identities(rows)
        unique = np.unique(ids, axis=0)
        sessions = {one["session"]: one for one in contents.state.get("sessions", ())}
        totals = dict.fromkeys(
            ("made", "acknowledged", "lost", "overflowed", "unacknowledged"), 0.0
        )
        gap = 0.0
        for actor in self.actors:
            notes = counting.notes(self._notes, actor.tag)
            made = len(notes)
            there = np.zeros(made + 1, bool)
            there[unique[unique[:, 0] == actor.tag][:, 1]] = True
            stored = sessions.get(actor.session, {"missed": 0, "dropped": 0, "next_sequence": 0})
            acknowledged = min(self.acknowledged.newest.get(actor.session, 0), made)
            overflowed = min(stored["missed"], stored["dropped"])
            missing_acknowledged = acknowledged - int(there[1 : acknowledged + 1].sum())
            lost = max(0, missing_acknowledged - overflowed)
            missing = made - int(there.sum())
            if actor.was_killed:
                totals["unacknowledged"] += max(0, missing - overflowed - lost)
            else:
                lost = max(lost, missing - overflowed)
            totals["made"] += made
            totals["acknowledged"] += acknowledged
            totals["overflowed"] += overflowed
            totals["lost"] += lost
            if made > 1:
                gap = max(gap, float(np.diff(notes[:, 1].astype(np.int64)).max()) / 1e9)
        times = [
            min((moment for moment in self.acknowledged.progress if moment > repair), default=0.0)
            - repair
            for repair in self.repairs
        ]
        return totals | {
            "in the replay file": len(ids),
            "duplicated": len(ids) - len(unique),
            "recovery": max(times, default=float("nan")),
            "tick gap": gap,
        }


# Scenarios.


@dataclass(frozen=True)
class Options:
    """How long and how often."""

    kills: int
    calm: float  # s without a fault
    link_down: float  # s
    long_link_down: float  # s, of a robot's time
    actors: int  # of the slow learner
    hostile: int  # messages


def _calm(system: System, seconds: float) -> None:
    system.start_learner()
    system.start_actor()
    system.started()
    time.sleep(seconds)  # what is measured is that nothing happens


def undisturbed(system: System, options: Options) -> None:
    _calm(system, options.calm)


def learner_killed(system: System, options: Options) -> None:
    rng = random.Random(1)
    _calm(system, 1.0)
    for _ in range(options.kills):
        time.sleep(rng.uniform(0.0, 1.0))  # a random moment
        system.kill_learner()
        system.start_learner()
        system.repaired()
        system.flows()


def actor_killed(system: System, options: Options) -> None:
    rng = random.Random(2)
    _calm(system, 1.0)
    for _ in range(options.kills):
        time.sleep(rng.uniform(0.0, 1.0))
        system.kill_actor(system.actors[-1])
        system.start_actor()
        system.repaired()
        system.started()


def both_killed(system: System, options: Options) -> None:
    rng = random.Random(3)
    _calm(system, 1.0)
    for _ in range(max(1, options.kills // 2)):
        time.sleep(rng.uniform(0.0, 1.0))
        system.kill_actor(system.actors[-1])
        system.kill_learner()
        system.start_learner()
        system.start_actor()
        system.repaired()
        system.started()


def learner_late(system: System, options: Options) -> None:
    actor = system.start_actor()
    until(lambda: system.made(actor) > 500, "steps without a learner")
    system.start_learner()
    system.repaired()
    system.started()
    system.flows()


def actor_late(system: System, options: Options) -> None:
    system.start_learner()
    assert system.learner is not None
    learner = system.learner
    until(lambda: "no actor publishes there" in learner.text, "the learner misses its actors")
    system.start_actor()
    system.repaired()
    system.started()
    system.flows()


def learner_hangs(system: System, options: Options) -> None:
    _calm(system, 1.0)
    assert system.learner is not None
    system.learner.send(signal.SIGSTOP)
    time.sleep(options.link_down)
    system.learner.send(signal.SIGCONT)
    system.repaired()
    system.flows()


def link_down(system: System, options: Options) -> None:
    _link_down(system, options.link_down)


def link_down_long(system: System, options: Options) -> None:
    _link_down(system, options.long_link_down * REAL_RATE / STEP_RATE)


def _link_down(system: System, seconds: float) -> None:
    link = system._link
    assert link is not None
    _calm(system, 3.0)
    link.up = False
    time.sleep(seconds)
    link.up = True
    system.repaired()
    system.flows()


def bad_link(system: System, options: Options) -> None:
    link = system._link
    assert link is not None
    link.loss, link.delay = 0.05, 0.05
    _calm(system, options.calm)
    system.flows()


def slow_learner(system: System, options: Options) -> None:
    system.start_learner()
    for number in range(options.actors):
        system.start_actor(f"actor_{number}", STEP_RATE)
    for actor in system.actors:
        until(lambda a=actor: system.made(a) > 600, "600 steps of each actor")


def full_disk(system: System, options: Options) -> None:
    _calm(system, 2.0)
    learner = system.learner
    assert learner is not None
    filler = system.run / "filler"
    if os.path.ismount(system.run):
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
    else:
        before = resource.prlimit(learner.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(learner.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    until(lambda: "cannot be written" in learner.text, "the learner says so")
    time.sleep(options.link_down / 2)
    if os.path.ismount(system.run):
        filler.unlink()
    else:
        resource.prlimit(learner.pid, resource.RLIMIT_FSIZE, before)
    system.repaired()
    system.flows()


def fuzz(system: System, options: Options) -> None:
    _calm(system, 2.0)
    peer = system.start_peer("--lie", str(options.hostile))
    until(lambda: not peer.lives, "all hostile messages are sent", 300.0)
    if f"sent {options.hostile}" not in peer.text:
        raise RuntimeError(f"the hostile peer failed: {peer.text[-300:]}")
    system.flows()


SCENARIOS: dict[str, tuple[Callable[[System, Options], None], bool]] = {
    # name: what happens, and whether it needs a link
    "undisturbed": (undisturbed, False),
    "learner killed": (learner_killed, False),
    "actor killed": (actor_killed, False),
    "both killed": (both_killed, False),
    "learner late": (learner_late, False),
    "actor late": (actor_late, False),
    "learner hangs": (learner_hangs, False),
    "link down": (link_down, True),
    "link down long": (link_down_long, True),
    "loss 5 %, delay 50 ms": (bad_link, True),
    "slow learner": (slow_learner, False),
    "full disk": (full_disk, False),
    "fuzz": (fuzz, False),
}


@contextlib.contextmanager
def disk(name: str, folder: Path) -> Iterator[str]:
    """For the full disk a small one, where we may mount it; how it is made full otherwise."""
    if name != "full disk":
        yield ""
        return
    run = folder / "run"
    run.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(run)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield "by RLIMIT_FSIZE: no right to mount a small disk"
        return
    try:
        yield "a tmpfs of 8 MB"
    finally:
        subprocess.run(["umount", "-l", str(run)], check=False)


def run(name: str, options: Options) -> tuple[dict[str, float], str]:
    """One scenario in a folder of its own."""
    what, needs_link = SCENARIOS[name]
    settings: dict[str, object] = {"replay_capacity": 500_000}
    if name == "slow learner":
        settings |= {"hidden_units": 256, "utd_ratio": 32}
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(Link()) if needs_link else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        note = stack.enter_context(disk(name, folder))
        system = System(folder, link, **settings)
        stack.callback(system.close)
        try:
            what(system, options)
            system.finish()
            return system.count(), note
        except (TimeoutError, RuntimeError) as error:
            outputs = [system.learner, *(a.process for a in system.actors[-2:])]
            for process in outputs:
                if process is not None:
                    print(process.text[-2000:], file=sys.stderr)
            raise RuntimeError(f"{name}: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few kills, short waits")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="one scenario")
    parser.add_argument("--listen", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--lie", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.listen:
        return listen()
    if chosen.lie:
        return lie(chosen.lie)
    options = Options(20, 20.0, 10.0, 300.0, 16, 10_000)
    names = list(SCENARIOS)
    if chosen.quick:
        options = Options(2, 5.0, 4.0, 300.0, 4, 1_000)
        names.remove("link down long")
    factor = STEP_RATE / REAL_RATE
    header = ("scenario", "made", "acknowledged", "in the replay file", "lost", "duplicated")
    header += ("overflowed", "unacknowledged", "recovery", "tick gap")
    table, figures, notes = [], {}, []
    for name in chosen.only or names:
        try:
            counts, note = run(name, options)
        except NetworkUnavailable as error:
            notes.append(f"{name}: NOT RUN, no network of namespaces here: {error}")
            continue
        figures[name] = counts
        row = [f"{counts[column]:,.0f}" for column in header[1:-2]]
        row += [f"{counts[column]:.2f} s" for column in header[-2:]]
        table.append([name, *row])
        print("  ".join(table[-1]), flush=True)
        if note:
            notes.append(f"{name}: {note}")
    if "link down long" in figures:
        notes.append(
            f"link down long: {options.long_link_down:g} s at {REAL_RATE:g} steps/s, shortened by "
            f"a factor of {factor:g}"
        )
    print()
    print_table(header, table)
    print("\n".join(notes))
    total = {
        key: int(sum(counts[key] for counts in figures.values())) for key in ("lost", "duplicated")
    }
    print_json(
        {
            "transitions_lost": total["lost"],
            "transitions_duplicated": total["duplicated"],
            "scenarios": figures,
            "not_run": [note.split(":")[0] for note in notes if "NOT RUN" in note],
        }
    )
    if any(total.values()):
        sys.exit(1)


# Peers, each a process of its own.


def listen() -> None:
    """Print session, sequence number and time whenever an acknowledgement advances."""
    rclpy.init()
    node = rclpy.create_node("listener")
    newest: dict[int, int] = {}

    def heard(message: TransitionAck) -> None:
        for cursor in message.actors:
            if cursor.next_sequence > newest.get(cursor.actor_session, 0):
                newest[cursor.actor_session] = cursor.next_sequence
                moment = time.monotonic()
                print(cursor.actor_session, cursor.next_sequence, moment, flush=True)

    node.create_subscription(TransitionAck, "sac/transitions_ack", heard, qos.TRANSITIONS_ACK)
    rclpy.spin(node)


def lie(count: int) -> None:
    """Publish `count` messages that are malformed in every way."""
    rclpy.init()
    node = rclpy.create_node("liar")
    rng = np.random.default_rng(4)
    publishers = [
        node.create_publisher(TransitionBatch, "sac/transitions", qos.TRANSITIONS),
        node.create_publisher(PolicyWeights, "sac/policy", qos.POLICY),
        node.create_publisher(TransitionAck, "sac/transitions_ack", qos.TRANSITIONS_ACK),
        node.create_publisher(ActorStatus, "sac/actor/status", qos.STATUS),
    ]
    until(lambda: all(p.get_subscription_count() for p in publishers), "listeners")
    for number in range(count):
        publisher = publishers[int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1)))]
        if number % 10 == 0:
            publisher.publish(rng.bytes(int(rng.integers(1, 300))))  # no message at all
        else:
            publisher.publish(_lies(rng)[publisher.msg_type])
        if number % 20 == 0:
            time.sleep(0.01)  # a flood would only fill the histories
    print("sent", count, flush=True)


def _lies(rng: np.random.Generator) -> dict[type, object]:
    rows = int(rng.integers(1, 40))
    lengths = [rows if rng.random() < 0.8 else int(rng.integers(0, 50)) for _ in range(8)]
    value = float(rng.choice([0.0, 1e30, np.nan, np.inf, 2.0]))
    floats = [[value] * (4 * n) for n in lengths[:4]]
    batch = TransitionBatch(
        actor_id=str(rng.choice(["", "liar", "actor", "x" * 256, "a\nb"])),
        actor_session=int(rng.integers(0, 5)),
        task=str(rng.choice(["counting:Counting-v0", "other"])),
        first_sequence=int(rng.choice([0, 31, 2**40, 2**63])),
        oldest_sequence=int(rng.choice([0, 2**62])),
        dropped=int(rng.choice([0, 2**63])),
        observation_size=int(rng.choice([4, 5, 2**31])),
        action_size=int(rng.choice([2, 0, 3])),
        observations=floats[0],
        next_observations=floats[1],
        actions=[2.0] * (2 * lengths[2]),
        rewards=[value] * lengths[3],
        terminated=[int(rng.integers(0, 3))] * lengths[4],
        truncated=[int(rng.integers(0, 3))] * lengths[5],
        source=[int(rng.integers(0, 9))] * lengths[6],
        policy_version=[2**63] * lengths[7],
    )
    weights = PolicyWeights(
        learner_id="liar",
        learner_session=int(rng.integers(0, 3)),
        version=int(rng.choice([0, 2**63])),
        format=str(rng.choice(["safetensors", "pickle"])),
        layout="0" * 16,
        data=rng.bytes(int(rng.integers(0, 5000))),
    )
    acks = TransitionAck(learner_id="liar", learner_session=int(rng.integers(1, 3)))
    status = ActorStatus(
        actor_id="liar",
        actor_session=int(rng.integers(0, 2**62)),
        state="evaluating",
        evaluations=2**63,
        evaluation_return_mean=float("nan"),
    )
    return {
        TransitionBatch: batch,
        PolicyWeights: weights,
        TransitionAck: acks,
        ActorStatus: status,
    }


if __name__ == "__main__":
    main()
