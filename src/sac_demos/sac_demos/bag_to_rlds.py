"""Makes an RLDS dataset of bags: the recorder's, or any others with a YAML that explains them.

    ros2 run sac_demos bag_to_rlds demos/pick_cube --output datasets
    ros2 run sac_demos bag_to_rlds bags --output datasets --config mapping.yaml

What it is of and what a YAML may say: docs/demonstrations.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sac_core.rlds import LAST_STEPS, RldsError
from sac_core.rlds_writer import Episode, RldsWriter
from sac_demos.bags import Bag, BagError, find_bags
from sac_demos.from_steps import Harvest, read_steps
from sac_demos.from_topics import read_topics
from sac_demos.idle import trim_start
from sac_demos.lerobot import LerobotError, LerobotWriter
from sac_demos.mapping import Mapping, MappingError, load_mapping
from sac_demos.progress import Progress
from sac_demos.report import Report
from sac_envs.tasks import TASKS, make_task

REPORT = "bag_to_rlds.json"  # in the dataset's folder
DEFAULT_NAME = "demonstrations"


@dataclass(frozen=True)
class Options:
    """What a user asks for."""

    bags: tuple[Path, ...]
    output: Path
    name: str = ""
    version: str = "1.0.0"
    append: bool = False
    last_step: str = LAST_STEPS[0]
    mapping: Mapping | None = None
    instruction: str = ""
    trim_idle: float = 0.0
    lerobot: Path | None = None


@dataclass
class Conversion:
    """Bags on their way into datasets; the first episode says of what kind all are."""

    options: Options
    report: Report = field(default_factory=Report)
    task: str = ""
    sizes: tuple[int, int] = (0, 0)
    rlds: RldsWriter | None = None
    lerobot: LerobotWriter | None = None

    def add(self, episode: Episode) -> None:
        """Write one episode.

        Raises:
            BagError: it is of another task or of other sizes than those before, or no dataset can
                hold it.
        """
        sizes = (episode.observations.shape[1], episode.actions.shape[1])
        if self.rlds is None:
            self._open(episode, sizes)
        elif (sizes, episode.labels.task) != (self.sizes, self.task):
            raise BagError(
                f"it is of task {episode.labels.task or 'unknown'} with {sizes[0]} observations "
                f"and {sizes[1]} actions, those before of {self.task or 'unknown'} with "
                f"{self.sizes[0]} and {self.sizes[1]}: one dataset is of one task"
            )
        assert self.rlds is not None
        if episode.key in self.rlds.there:
            self.report.already_there += 1
            return
        try:
            if self.lerobot is not None:
                self.lerobot.check(episode)
            self.rlds.add(episode)
        except (RldsError, LerobotError) as error:
            raise BagError(str(error)) from error
        if self.lerobot is not None:
            self.lerobot.add(episode)
        self.rlds.there.add(episode.key)
        self.report.add_episode(episode)

    def _open(self, episode: Episode, sizes: tuple[int, int]) -> None:
        options, self.task, self.sizes = self.options, episode.labels.task, sizes
        names = _names(self.task, sizes)
        self.rlds = RldsWriter(
            options.output,
            options.name or _as_name(self.task),
            *sizes,
            version=options.version,
            last_step=options.last_step,
            description=f"Demonstrations of {self.task or 'a task'}, made by bag_to_rlds.",
            metadata={
                "task": self.task,
                "control_rate": episode.labels.control_rate,
                **{f"{part}_names": list(of_part) for part, of_part in names.items()},
            },
            append=options.append,
        )
        self.report.dataset = str(self.rlds.path)
        if options.lerobot is not None:
            self.lerobot = LerobotWriter(options.lerobot, *sizes, names or None)

    def close(self) -> None:
        """Make what was written datasets."""
        if self.rlds is None:
            raise RldsError("no episode came out of the bags: nothing is written")
        if not self.report.episodes and self.report.already_there:
            self.abort()  # there is nothing to change
            return
        self.rlds.prepare()
        if self.lerobot is not None:
            self.lerobot.prepare()
            self.lerobot.publish()
        self.rlds.publish()
        (self.rlds.path / REPORT).write_text(self.report.as_json())

    def abort(self) -> None:
        """Leave nothing."""
        for writer in (self.rlds, self.lerobot):
            if writer is not None:
                writer.abort()


def _names(task: str, sizes: tuple[int, int]) -> dict[str, tuple[str, ...]]:
    """What the numbers of a task's observations and actions are called."""
    if task not in TASKS:
        return {}
    made = make_task(task)
    if (made.observation_size, made.action_size) != sizes:
        return {}
    return {
        "observation": tuple(one.name for one in made.observations),
        "action": tuple(one.name for one in made.actions),
    }


def _as_name(task: str) -> str:
    """A task's name as TFDS takes names."""
    name = re.sub(r"[^a-z0-9]+", "_", task.lower()).strip("_")[:100]
    return name if name and name[0].isalpha() else DEFAULT_NAME


def convert(options: Options) -> Report:
    """Convert all bags.

    Raises:
        BagError: there are no bags.
        RldsError, LerobotError: the datasets cannot be written, or nothing came out.
        OSError: the disk does not take them; nothing has changed then.
    """
    conversion = Conversion(options)
    bags = find_bags(options.bags)
    progress = Progress(len(bags), "bags")
    try:
        for number, path in enumerate(bags, start=1):
            try:
                _convert_bag(path, conversion)
            except BagError as error:
                line = str(error) if str(path) in str(error) else f"{path}: {error}"
                conversion.report.failed.append(line)
                progress.say(line)
            progress.show(number, f", {conversion.report.steps} transitions")
        conversion.close()
    except BaseException:
        conversion.abort()
        raise
    finally:
        progress.end()
    return conversion.report


def _convert_bag(path: Path, conversion: Conversion) -> None:
    options = conversion.options
    bag = Bag(path)
    if options.mapping is None:
        harvest: Harvest = read_steps(bag, options.instruction)
    else:
        harvest = read_topics(bag, options.mapping, options.instruction)
    for episode in _trimmed(harvest, options.trim_idle):
        conversion.add(_from_bag(episode, bag))
    conversion.report.add_bag(bag, harvest)


def _trimmed(harvest: Harvest, threshold: float) -> Iterator[Episode]:
    for episode in harvest.episodes:
        trimmed, idle = trim_start(episode, threshold)
        harvest.idle += idle
        yield trimmed


def _from_bag(episode: Episode, bag: Bag) -> Episode:
    return replace(episode, labels=replace(episode.labels, file_path=str(bag.path)))


# The command line.


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="bag_to_rlds",
        description=__doc__.split("\n\n")[0],
        epilog="docs/demonstrations.md has examples.",
    )
    add = parser.add_argument
    add("bags", type=Path, nargs="+", help="bags, or folders of bags")
    add("-o", "--output", type=Path, required=True, help="folder of datasets")
    add("--name", default="", help="name of the dataset (default: its task)")
    add("--version", default="1.0.0", help="version of the dataset (default: %(default)s)")
    add("--append", action="store_true", help="add to the dataset that is there")
    add("--config", type=Path, help="YAML that says what is observation and action")
    add(
        "--last-step",
        choices=LAST_STEPS,
        default=LAST_STEPS[0],
        help="layout: Open X-Embodiment's (transition, the default) or canonical RLDS",
    )
    add("--instruction", default="", help="what is shown, in words")
    add(
        "--trim-idle",
        type=float,
        default=0.0,
        help="leave out steps at the beginning with actions up to this (default: none; a YAML "
        "has its own)",
    )
    add("--lerobot", type=Path, help="also write a LeRobotDataset v3 into this folder")
    add("--report", type=Path, help="also write the report as JSON into this file")
    return parser


def _options(given: argparse.Namespace) -> Options:
    values: dict[str, Any] = {
        name: getattr(given, name)
        for name in (
            "output", "name", "version", "append", "last_step", "instruction", "trim_idle",
            "lerobot",
        )
    }  # fmt: skip
    mapping = load_mapping(given.config) if given.config else None
    return Options(bags=tuple(given.bags), mapping=mapping, **values)


def main() -> None:
    """Convert what the command line names; exit with 1 when nothing comes out."""
    given = _parser().parse_args()
    try:
        report = convert(_options(given))
        if given.report:
            given.report.write_text(report.as_json())
    except (BagError, MappingError, RldsError, LerobotError, OSError) as error:
        sys.exit(f"bag_to_rlds: {error}")
    except KeyboardInterrupt:
        sys.exit("bag_to_rlds: interrupted: nothing is written")
    text = report.as_text()
    if report.failed:
        text += f"\n{len(report.failed)} bags gave nothing; a line above says why for each"
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
