"""What demonstrations are worth: pick_cube with 20 scripted ones and without, to 95 % success.

Dense and sparse reward, three seeds each, everything over ROS topics: record_demos.launch.py
records bags, bag_to_rlds makes a dataset of them, sim_train.launch.py learns with it. A run that
does not get there ends after a number of environment steps. `--real-time` runs at the robot's own
pace.

Results are kept in runs/demos-benchmark: `--only` measures some of the parts anew, and the table
shows all that are there. A run that did not get there counts as endless: the median of three may
still be known, and where it is not no ratio is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from common import fail, print_json, print_table, rounded
from pick_cube import end_on_sigterm, own_domain, train

DEMONSTRATIONS = 20
EVALUATION_PERIOD = 250  # environment steps, in every part: it is what steps to success round to
FOLDER = Path("runs/demos-benchmark")


@dataclass(frozen=True)
class Part:
    """Trainings that differ in their seed only, and the environment steps after which they end."""

    task: str
    demonstrations: int
    limit: int
    limit_in_real_time: int


PARTS = {
    "dense": Part("pick_cube", 0, 40_000, 8_000),
    "dense-demos": Part("pick_cube", DEMONSTRATIONS, 40_000, 8_000),
    "sparse": Part("pick_cube_sparse", 0, 40_000, 8_000),
    "sparse-demos": Part("pick_cube_sparse", DEMONSTRATIONS, 40_000, 8_000),
}
QUICK = {
    "reach": Part("reach", 0, 5_000, 5_000),
    "reach-demos": Part("reach", 5, 5_000, 5_000),
}


def record(task: str, episodes: int, folder: Path) -> Path:
    """A dataset of scripted demonstrations of a task, recorded over topics; made once."""
    name = f"{task}_{episodes}"
    dataset, bags = folder / "datasets" / name, folder / "bags" / name
    if dataset.exists():
        return dataset.resolve()
    begun = time.monotonic()
    for command in (
        f"ros2 launch sac_bringup record_demos.launch.py task:={task} num_episodes:={episodes} "
        f"save_path:={bags} demonstrator:=scripted",
        f"ros2 run sac_demos bag_to_rlds {bags} --output {dataset.parent} --name {name}",
    ):
        done = subprocess.run(
            command.split(),
            env=own_domain(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600.0,
        )
        if done.returncode:
            fail(f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr}")
    seconds = time.monotonic() - begun
    print(f"{dataset}: {episodes} demonstrations, recorded and converted in {seconds:.0f} s")
    return dataset.resolve()


def limit(part: Part, real_time: bool) -> int:
    """Environment steps after which a run ends."""
    return part.limit_in_real_time if real_time else part.limit


def measure(part: Part, seed: int, real_time: bool, folder: Path) -> dict[str, float]:
    """One training."""
    arguments = [f"max_steps:={limit(part, real_time)}"]
    arguments.append(f"eval_period:={EVALUATION_PERIOD}")
    if real_time:
        arguments.append("speed_factor:=1.0")
    if part.demonstrations:
        dataset = record(part.task, part.demonstrations, folder)
        arguments.append(f"preload_rlds_path:={dataset}")
    # At 10 steps/s, with as much again for evaluations; or at least 60 steps/s.
    patience = 300.0 + limit(part, real_time) / (5.0 if real_time else 60.0)
    return train(part.task, seed, arguments, patience)


class Results:
    """Results by part and seed, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: dict[str, dict[str, dict[str, float]]] = {}
        if path.exists():
            self._all = json.loads(path.read_text())

    def forget(self, part: str) -> None:
        """Measure this part anew."""
        self._all.pop(part, None)

    def add(self, part: str, seed: int, result: dict[str, float]) -> None:
        """Keep a result, also if the benchmark is broken off."""
        self._all.setdefault(part, {})[str(seed)] = result
        self._path.write_text(json.dumps(self._all, indent=1))

    def of(self, part: str) -> dict[int, dict[str, float]]:
        """What is known of a part, by seed."""
        return {int(seed): result for seed, result in self._all.get(part, {}).items()}

    def steps(self, part: str) -> list[float]:
        """Environment steps to success, of every seed."""
        return [result["steps"] for result in self.of(part).values()]


def row(name: str, seed: int, result: dict[str, float]) -> list[str]:
    """One line of the table."""
    cells = [name, str(seed)]
    if math.isinf(result["steps"]):
        cells += ["-", f"not in {result['transitions']:,.0f}", "-"]
    else:
        minutes = f"{result['seconds'] / 60.0:.1f}"
        cells += [f"{result['success']:.0%}", f"{result['steps']:,.0f}", minutes]
    return [*cells, f"{result['update_to_data_ratio']:.2f}"]


def times_fewer(results: Results, without: str, with_demonstrations: str) -> float:
    """Median environment steps without over those with demonstrations; not finite: unknown."""
    pair = results.steps(without), results.steps(with_demonstrations)
    return statistics.median(pair[0]) / statistics.median(pair[1])


def known(value: float) -> float | None:
    """A figure as JSON has it: null where there is none."""
    return value if math.isfinite(value) else None


def main() -> None:
    end_on_sigterm()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1, 2, …")
    parser.add_argument("--real-time", action="store_true", help="at the robot's own pace")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts only")
    parser.add_argument("--quick", action="store_true", help="one seed of task reach")
    options = parser.parse_args()
    parts, seeds = QUICK if options.quick else PARTS, 1 if options.quick else options.seeds
    if seeds < 1:
        fail("--seeds: expected at least 1")
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = ("quick" if options.quick else "results") + ("-real-time" if options.real_time else "")
    results = Results(FOLDER / f"{name}.json")
    for part in options.only or parts:
        results.forget(part)
        for seed in range(1, seeds + 1):
            result = measure(parts[part], seed, options.real_time, FOLDER)
            results.add(part, seed, result)
            print("  ".join(row(part, seed, result)), flush=True)
    report(parts, results, options.real_time)


def report(parts: dict[str, Part], results: Results, real_time: bool) -> None:
    """The table, how many times fewer steps demonstrations make it, and all figures."""
    print()
    header = ["", "seed", "success", "environment steps", "minutes", "updates/step"]
    print_table(
        header,
        [row(part, seed, one) for part in parts for seed, one in results.of(part).items()],
    )
    fewer = {
        part: times_fewer(results, part, f"{part}-demos")
        for part in parts
        if results.steps(part) and results.steps(f"{part}-demos")
    }
    for part, times in fewer.items():
        if math.isfinite(times):
            print(
                f"{part}: {times:.1f} times fewer environment steps with demonstrations (medians)"
            )
    print_json(
        {
            "real_time": real_time,
            "demonstrations": DEMONSTRATIONS,
            "times_fewer_steps": {
                part: rounded(times) for part, times in fewer.items() if math.isfinite(times)
            },
            **{
                f"{part}_{figure}": [known(one[figure]) for one in results.of(part).values()]
                for part in parts
                for figure in ("success", "steps", "seconds", "transitions")
            },
        },
        threads=1,
    )


if __name__ == "__main__":
    main()
