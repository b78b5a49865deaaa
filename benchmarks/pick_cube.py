"""How fast the main job learns: sim_train.launch.py until 95 % of 50 evaluation episodes succeed.

Real processes over ROS topics, one seed after the other. `--real-time` runs the simulation at the
robot's own pace, where environment steps are dear. Times count from the first transition.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import signal
import statistics
import subprocess
import tempfile
from pathlib import Path

from common import fail, free_domain, print_json, print_table, rounded

COMPLETE = re.compile(
    r"Complete: (\d+\.\d)% of (\d+) evaluation episodes succeeded .*, (\d+\.\d) s after the first "
    r"transition, ([\d,]+) environment steps"
)


def own_domain() -> dict[str, str]:
    """This environment, with a ROS domain that nobody else on this machine is in."""
    return os.environ | {
        "ROS_DOMAIN_ID": str(free_domain()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }


def train(task: str, seed: int, arguments: list[str], patience: float) -> dict[str, float]:
    """One training; success rate, seconds and environment steps to it.

    A run that did not get there has a success rate of 0 and infinite seconds and steps; how many
    steps it made is in `transitions`.
    """
    command = ["ros2", "launch", "sac_bringup", "sim_train.launch.py", f"task:={task}"]
    command += [f"seed:={seed}", "run_name:=run", "video:=false", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=own_domain(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate()
            print(f"not within {patience:.0f} s; the last it said:\n{output[-1500:]}", flush=True)
        except BaseException:  # the benchmark is broken off: its nodes must not stay
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()  # what it had started ends with it
                process.wait()
            raise
        if process.returncode:
            fail(f"{' '.join(command)} ended with {process.returncode}:\n{output[-3000:]}")
        match = COMPLETE.search(output)
        rows = list(csv.DictReader((Path(folder) / "runs/run/metrics.csv").open()))
        last = rows[-1] if rows else {}
    result = {
        "transitions": float(last.get("transitions", "nan")),
        "updates_per_second": float(last.get("critic_updates_per_second", "nan")),
        "update_to_data_ratio": float(last.get("update_to_data_ratio", "nan")),
    }
    if match is None:
        return result | {"success": 0.0, "seconds": float("inf"), "steps": float("inf")}
    return result | {
        "success": float(match[1]) / 100.0,
        "seconds": float(match[3]),
        "steps": float(match[4].replace(",", "")),
    }


def end_on_sigterm() -> None:
    """Let SIGTERM end the benchmark as Ctrl-C does, and with it what was started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def main() -> None:
    end_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="pick_cube")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1, 2, …")
    parser.add_argument("--real-time", action="store_true", help="at the robot's own pace")
    parser.add_argument("--patience", type=float, default=0.0, help="s for one seed")
    parser.add_argument("--quick", action="store_true", help="one seed of task reach")
    options = parser.parse_args()
    seeds, task = options.seeds, options.task
    if options.quick:
        seeds, task = 1, "reach"
    if seeds < 1:
        fail("--seeds: expected at least 1")
    arguments = ["speed_factor:=1.0"] if options.real_time else []
    patience = options.patience or (1800.0 if options.real_time else 600.0)
    results, table = [], []
    for seed in range(1, seeds + 1):
        result = train(task, seed, arguments, patience)
        results.append(result)
        row = [f"{task}, seed {seed}", f"{result['success']:.0%}", f"{result['seconds']:.1f}"]
        row += [f"{result['steps']:,.0f}", f"{result['updates_per_second']:.0f}"]
        table.append([*row, f"{result['update_to_data_ratio']:.2f}"])
        print("  ".join(table[-1]), flush=True)
    print()
    header = ["", "success", "seconds", "environment steps", "critic updates/s", "updates/step"]
    print_table(header, table)
    print_json(
        {
            "task": task,
            "real_time": options.real_time,
            "success": [result["success"] for result in results],
            "seconds_to_success": [rounded(result["seconds"]) for result in results],
            "steps_to_success": [result["steps"] for result in results],
            "median_seconds_to_success": rounded(
                statistics.median(result["seconds"] for result in results)
            ),
            "most_seconds_to_success": rounded(max(result["seconds"] for result in results)),
        },
        threads=1,
    )


if __name__ == "__main__":
    main()
