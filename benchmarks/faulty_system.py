"""A learner and its actors as processes that can be hurt, and what became of their transitions."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import counting
import numpy as np
import psutil
from common import free_domain
from network import Link
from numpy.typing import NDArray

from sac_core.replay_file import read_replay_file

STEP_RATE = 100.0  # of an actor
PATIENCE = 60.0  # s for what must happen
UNDER_WAY = 1.0  # s after an interruption in which what was sent before may still arrive
FLUSH_PERIOD = 30  # steps between two batches of an actor
SMALL = {"hidden_units": 16, "torch_threads": 1, "training_starts": 60, "checkpoint_period": 50}
HERE = Path(__file__).resolve().parent
IDLE = 0  # tag of the notes of the process that does nothing


class Failed(RuntimeError):
    """Something that must happen did not, or the other way round."""


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait for `condition`; Failed when it does not come true."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {patience:g} s: {what}")
        time.sleep(0.02)


class Process:
    """A started command, with what it starts itself, whose output goes to a file."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._output = folder / f"output_{time.monotonic_ns()}"
        with self._output.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group of its own, which signals go to
            )

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.lives:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self._process.wait()

    def end(self) -> int:
        """Ctrl-C, and the exit status; Failed, and killed, when it does not end."""
        self.send(signal.SIGINT)
        return self.wait(30.0)

    def wait(self, patience: float) -> int:
        """The exit status, once it ends by itself; Failed, and killed, when it does not."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"a process did not end within {patience:g} s") from None

    @contextlib.contextmanager
    def without_larger_files(self) -> Iterator[None]:
        """What it writes fails meanwhile, as on a full disk (RLIMIT_FSIZE)."""
        process = psutil.Process(self._process.pid)
        before = {
            one.pid: resource.prlimit(one.pid, resource.RLIMIT_FSIZE)
            for one in (process, *process.children(recursive=True))
        }
        for pid, (_, most) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, most))
        yield
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@dataclass
class Actor:
    """One process of an actor."""

    name: str
    process: Process
    tag: int
    rate: float  # steps/s, 0: as fast as it can
    was_killed: bool = False
    _session: int | None = None

    @property
    def session(self) -> int | None:
        """As it has said itself, None before."""
        if self._session is None and (
            found := re.search(r"session ([0-9a-f]{16})", self.process.text)
        ):
            self._session = int(found[1], 16)
        return self._session


@dataclass
class Heard:
    """What a listener beside the learner hears of it."""

    acknowledged: dict[int, int] = field(default_factory=dict)  # next sequence number by session
    progress: list[tuple[float, int]] = field(default_factory=list)  # when one of them advanced
    step: int = 0  # of the learner

    def read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            match line.split():
                case ["row", session, number, moment]:
                    self.acknowledged[int(session)] = int(number)
                    self.progress.append((float(moment), int(session)))
                case ["step", step]:
                    self.step = int(step)


@dataclass(frozen=True)
class Counts:
    """What became of the transitions of one scenario."""

    made: int
    acknowledged: int
    in_the_replay_file: int
    lost: int
    duplicated: int
    wrong: int  # rows that no actor made
    overflowed: int
    unacknowledged: int
    recovery: float | None  # s
    tick_gap: float  # s
    idle_gap: float  # s


class System:
    """A learner and its actors in a folder and a ROS domain of their own."""

    def __init__(self, folder: Path, link: Link | None, **learner_parameters: object) -> None:
        self.folder = folder
        self.link = link
        self._parameters = {**SMALL, **learner_parameters}
        self._notes = folder / "notes"
        self._notes.mkdir()
        self.run = folder / "run"
        self._environment = os.environ | {
            "ROS_DOMAIN_ID": str(free_domain()),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}",
            "COUNTING_LOG": str(self._notes),
            "OPENBLAS_NUM_THREADS": "1",
        }
        if link is not None:  # no shared memory beside the link
            self._environment |= {
                "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
                "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
            }
        self._learner: Process | None = None
        self.actors: list[Actor] = []
        self._repairs: list[tuple[float, Actor | None]] = []
        self.heard = Heard()
        self._others: list[Process] = []
        self._listener: subprocess.Popen[str] | None = None

    def watch(self) -> None:
        """Begin to listen to the learner, and to measure what the machine itself holds up."""
        self._others.append(self._start_peer("idle", str(self._notes / str(IDLE))))
        self._listener = subprocess.Popen(
            [*self._on(0), sys.executable, str(HERE / "peers.py"), "listen"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self.heard.read, args=(self._listener,), daemon=True).start()

    def _on(self, host: int) -> list[str]:
        return self.link.command(host) if self.link else []

    @property
    def learner(self) -> Process:
        if self._learner is None:
            raise Failed("there is no learner")
        return self._learner

    # Starting and ending.

    def start_learner(self) -> None:
        parameters = {**self._parameters, "run_directory": str(self.run)}
        command = [*self._on(0), "ros2", "run", "sac_learner", "learner", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self._learner = Process(command, self.folder, self._environment)

    def start_actor(self, name: str = "actor", rate: float = STEP_RATE) -> Actor:
        tag = len(self.actors) + 1
        command = [*self._on(1), "ros2", "run", "sac_actor", "actor", "--ros-args"]
        command += ["-r", f"__node:={name}", "-p", "env_id:=counting:Counting-v0"]
        for parameter in (f"step_rate:={rate}", "eval_period:=0", "random_steps:=0"):
            command += ["-p", parameter]
        environment = self._environment | {"COUNTING_TAG": str(tag)}
        self.actors.append(Actor(name, Process(command, self.folder, environment), tag, rate))
        return self.actors[-1]

    def _start_peer(self, *arguments: str) -> Process:
        command = [sys.executable, str(HERE / "peers.py"), *arguments]
        return Process(command, self.folder, self._environment)

    def run_peer(self, *arguments: str) -> None:
        """Run a program of peers.py to its end; Failed when it fails."""
        peer = self._start_peer(*arguments)
        self._others.append(peer)
        if peer.wait(300.0) != 0:
            raise Failed(f"{' '.join(arguments)}: {peer.text[-300:]}")

    def kill_actor(self) -> None:
        """Kill the newest."""
        self.actors[-1].was_killed = True
        self.actors[-1].process.kill()

    def finish(self) -> None:
        """Let what is queued arrive, and end everything; Failed if anything did before."""
        living = [actor for actor in self.actors if not actor.was_killed]
        processes = {"learner": self.learner} | {a.name: a.process for a in living}
        for name, process in processes.items():
            if not process.lives:
                raise Failed(f"{name} ended by itself")
        for actor in living:
            actor.process.send(signal.SIGINT)
        for name, process in reversed(processes.items()):
            if status := (process.end() if process is self.learner else process.wait(30.0)):
                raise Failed(f"{name} ended with status {status}")

    def close(self) -> None:
        """End whatever is left."""
        learner = [] if self._learner is None else [self._learner]
        for process in (*learner, *(a.process for a in self.actors), *self._others):
            process.kill()
        if self._listener is not None:
            self._listener.kill()
            self._listener.wait()

    def output(self) -> str:
        """What learner and newest actor said last."""
        learner = [] if self._learner is None else [self._learner]
        processes = [*learner, *(actor.process for actor in self.actors[-1:])]
        return "\n".join(process.text[-2000:] for process in processes)

    # Waiting.

    def repaired(self, actor: Actor | None = None) -> None:
        """From now on acknowledgements are expected again: of any row, or of this actor's."""
        self._repairs.append((time.monotonic(), actor))

    def _acknowledged(self, actor: Actor) -> int:
        return 0 if actor.session is None else self.heard.acknowledged.get(actor.session, 0)

    def flows(self, rows: int = 60) -> None:
        """Wait until each living actor has `rows` more rows acknowledged."""
        living = [actor for actor in self.actors if actor.process.lives]
        wanted = [(actor, self._acknowledged(actor) + rows) for actor in living]
        until(
            lambda: all(self._acknowledged(actor) >= number for actor, number in wanted),
            f"{rows} more acknowledged rows of each actor",
        )

    def trains(self) -> None:
        """Wait until the learner is some steps further."""
        step = self.heard.step
        until(lambda: self.heard.step > step + 2, "training goes on")

    def drains(self, patience: float) -> None:
        """Pause all actors, and wait until what they had to send is acknowledged."""
        living = [actor for actor in self.actors if actor.process.lives]
        self.run_peer("pause", *(actor.name for actor in living))
        # What is less than a batch goes with the end.
        wanted = [(actor, self.made(actor) - FLUSH_PERIOD) for actor in living]
        until(
            lambda: all(self._acknowledged(actor) >= number for actor, number in wanted),
            "the queues of the paused actors are empty",
            patience,
        )

    @contextlib.contextmanager
    def nothing_arrives(self) -> Iterator[None]:
        """Failed if anything is acknowledged meanwhile but what was under way at the beginning."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        late = [at for at, _ in tuple(self.heard.progress) if began + UNDER_WAY < at < ended]
        if late:
            raise Failed(f"{len(late)} acknowledgements came all the same")

    def made(self, actor: Actor) -> int:
        """Steps of an actor's environment so far."""
        return len(counting.notes(self._notes, actor.tag))

    # Counting.

    def count(self) -> Counts:
        """What is in the replay file against what the environments have noted."""
        contents = read_replay_file(self.run / "replay.bin")
        if contents.inserted > contents.capacity:
            raise Failed("the replay file is too small for this scenario")
        ids = counting.identities(contents.rows[:, contents.layout.next_observation])
        right = counting.belong_together(contents.rows, contents.layout)
        made = {actor.tag: self.made(actor) for actor in self.actors}
        right &= [0 < step <= made.get(tag, 0) for tag, step in ids.tolist()]
        unique = np.unique(ids[right], axis=0)
        sessions = {one["session"]: one for one in contents.state.get("sessions", ())}
        totals: collections.Counter[str] = collections.Counter()
        for actor in self.actors:
            steps = unique[unique[:, 0] == actor.tag][:, 1]
            totals.update(self._count_of(actor, made[actor.tag], steps, sessions))
        return Counts(
            made=totals["made"],
            acknowledged=totals["acknowledged"],
            in_the_replay_file=len(ids),
            lost=totals["lost"],
            duplicated=int(right.sum()) - len(unique),
            wrong=int((~right).sum()),
            overflowed=totals["overflowed"],
            unacknowledged=totals["unacknowledged"],
            recovery=self._recovery(),
            tick_gap=max(
                (self._gap(actor.tag) for actor in self.actors if actor.rate), default=0.0
            ),
            idle_gap=self._gap(IDLE),
        )

    def _count_of(
        self,
        actor: Actor,
        made: int,
        steps: NDArray[np.int64],
        sessions: dict[int, dict[str, int]],
    ) -> dict[str, int]:
        """The numbers of one actor, `steps` of which are in the file."""
        there = np.zeros(made + 1, bool)
        there[steps] = True
        acknowledged = self._acknowledged(actor)
        overflowed = 0
        if stored := sessions.get(actor.session or 0):
            # What the learner has passed over, before its first row of the session or later.
            gone = stored["next_sequence"] - stored["received"] - stored["rejected"]
            overflowed = max(0, min(gone, stored["dropped"]))
        # Those of an actor that ended in order must be there whether acknowledged or not; an
        # acknowledgement of what was never made speaks of rows that are not there either.
        expected = acknowledged if actor.was_killed else max(made, acknowledged)
        lost = max(0, expected - int(there[1 : expected + 1].sum()) - overflowed)
        gone = made - len(steps) - overflowed - lost
        return {
            "made": made,
            "acknowledged": acknowledged,
            "lost": lost,
            "overflowed": overflowed,
            "unacknowledged": max(0, gone) if actor.was_killed else 0,
        }

    def _recovery(self) -> float | None:
        """The longest time from a repair to the next acknowledged row, in s."""
        times = [
            next(
                later - at
                for later, session in self.heard.progress
                if later > at and (actor is None or session == actor.session)
            )
            for at, actor in self._repairs
        ]
        return max(times, default=None)

    @cached_property
    def _acting(self) -> tuple[int, int]:
        """From the first to the last step of any actor, in ns."""
        times = np.concatenate([counting.notes(self._notes, a.tag)[:, 1] for a in self.actors])
        return int(times.min()), int(times.max())

    def _gap(self, tag: int) -> float:
        """The longest time between two notes while any actor acted, in s."""
        times = counting.notes(self._notes, tag)[:, 1]
        begin, end = self._acting
        times = times[(begin <= times) & (times <= end)]
        return float(np.diff(times).max(initial=0)) / 1e9
