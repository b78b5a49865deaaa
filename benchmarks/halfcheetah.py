"""HalfCheetah-v4 for a fixed wall-clock time: this project through ROS, then Stable-Baselines3 SAC.

Both have the machine to themselves, one after the other, with their defaults, and are judged by the
mean return of 10 evaluation episodes with the mean action of their last weights. The time that
Stable-Baselines3 spends in its evaluations on the way is not counted; this project's is.

    make bench B=halfcheetah            # 30 minutes each
    make bench B=halfcheetah ARGS=--quick
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import common
import numpy as np

ENV_ID = "HalfCheetah-v4"
EPISODES = 10
EVALUATION_SEED = 1_000_000
EVALUATION_PERIOD = 10_000  # environment steps


def train_ours(minutes: float, directory: Path, arguments: list[str]) -> dict[str, object]:
    """Launch learner and actor for `minutes`, then evaluate the last checkpoint."""
    name = f"{directory.name}/ours"
    command = ["ros2", "launch", "sac_bringup", "gym_train.launch.py", f"env_id:={ENV_ID}"]
    command += [f"run_name:={name}", f"eval_period:={EVALUATION_PERIOD}", *arguments]
    environment = os.environ | {"ROS_DOMAIN_ID": str(common.free_domain())}
    process = subprocess.Popen(command, env=environment, cwd=directory.parent.parent)
    try:
        process.wait(minutes * 60.0)
        raise SystemExit(f"the run ended by itself with {process.returncode} before its time")
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60.0)
    run = directory / "ours"
    output = subprocess.run(
        [
            *("ros2", "launch", "sac_bringup", "evaluate.launch.py"),
            *(f"checkpoint:={run}", f"episodes:={EPISODES}", f"seed:={EVALUATION_SEED}"),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"Mean return (-?[\d.]+) ± ([\d.]+)", output)
    if found is None:
        raise SystemExit(f"no result in the evaluation's output:\n{output}")
    last = read_csv(run / "metrics.csv")[-1]
    curve = [
        (float(row["transitions"]), float(row["seconds"]), float(row["return_mean"]))
        for row in read_csv(run / "evaluations.csv")
    ]
    return {
        "return_mean": float(found[1]),
        "return_std": float(found[2]),
        "environment_steps": int(float(last["transitions"])),
        "gradient_steps": int(float(last["step"])) * 8,
        "curve": curve,
    }


def train_stable_baselines3(minutes: float, seed: int) -> dict[str, object]:
    """Stable-Baselines3 SAC with its defaults for `minutes`, evaluations not counted."""
    import gymnasium
    from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    gymnasium.logger.min_level = gymnasium.logger.ERROR
    evaluation_environment = Monitor(gymnasium.make(ENV_ID))
    evaluation_environment.reset(seed=EVALUATION_SEED)

    class Clock(BaseCallback):
        """Evaluates on the way and ends training when its own time is up."""

        def __init__(self) -> None:
            super().__init__()
            self.started = time.monotonic()
            self.evaluating = 0.0
            self.curve: list[tuple[float, float, float]] = []

        def _on_step(self) -> bool:
            now = time.monotonic()
            seconds = now - self.started - self.evaluating
            if self.num_timesteps % EVALUATION_PERIOD == 0:
                mean, _ = evaluate_policy(self.model, evaluation_environment, n_eval_episodes=5)
                self.curve.append((self.num_timesteps, seconds, float(mean)))
                self.evaluating += time.monotonic() - now
                print(
                    f"  {self.num_timesteps} steps, {seconds:.0f} s: return {mean:.0f}", flush=True
                )
            return seconds < minutes * 60.0

    model = SAC("MlpPolicy", gymnasium.make(ENV_ID), seed=seed, device="cpu")
    clock = Clock()
    model.learn(total_timesteps=10**9, callback=clock)
    evaluation_environment.reset(seed=EVALUATION_SEED)
    returns, _ = evaluate_policy(
        model, evaluation_environment, n_eval_episodes=EPISODES, return_episode_rewards=True
    )
    return {
        "return_mean": float(np.mean(returns)),
        "return_std": float(np.std(returns)),
        "environment_steps": model.num_timesteps,
        "gradient_steps": model._n_updates,
        "curve": clock.curve,
    }


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def draw(results: dict[str, dict[str, object]], path: Path) -> None:
    """Return against minutes and against environment steps, both learners."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (by_time, by_steps) = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for name, result in results.items():
        steps, seconds, returns = np.array(result["curve"]).reshape(-1, 3).T
        by_time.plot(seconds / 60.0, returns, label=name)
        by_steps.plot(steps / 1e3, returns, label=name)
    by_time.set(xlabel="minutes", ylabel=f"{ENV_ID}: return, 5 episodes, mean action")
    by_steps.set(xlabel="environment steps (thousands)")
    for axis in (by_time, by_steps):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 minutes each")
    parser.add_argument("--minutes", type=float, help="wall-clock time of each (default 30)")
    parser.add_argument("--only", choices=("ours", "stable_baselines3"), help="run one of the two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("launch_arguments", nargs="*", help="name:=value for this project's launch")
    options = parser.parse_args()
    minutes = options.minutes or (3.0 if options.quick else 30.0)
    directory = Path("runs").resolve() / time.strftime("halfcheetah-benchmark-%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    results: dict[str, dict[str, object]] = {}
    if options.only != "stable_baselines3":
        print(f"This project, {minutes:g} minutes:", flush=True)
        arguments = [f"seed:={options.seed}", *options.launch_arguments]
        results["this project"] = train_ours(minutes, directory, arguments)
    if options.only != "ours":
        print(f"Stable-Baselines3 SAC, {minutes:g} minutes:", flush=True)
        results["Stable-Baselines3 SAC"] = train_stable_baselines3(minutes, options.seed)
    draw(results, directory / "comparison.png")
    (directory / "results.json").write_text(json.dumps(results, indent=1))
    common.print_table(
        ["", f"return of {EPISODES} episodes", "environment steps", "gradient steps"],
        [
            [
                name,
                f"{r['return_mean']:.0f} ± {r['return_std']:.0f}",
                f"{r['environment_steps']:,}",
                f"{r['gradient_steps']:,}",
            ]
            for name, r in results.items()
        ],
    )
    print(f"Curves: {directory / 'comparison.png'}")
    figures: dict[str, object] = {"minutes": minutes, "launch_arguments": options.launch_arguments}
    for name, r in results.items():
        key = name.lower().replace(" ", "_").replace("-", "_")
        figures |= {f"{key}_{k}": v for k, v in r.items() if k != "curve"}
    common.print_json(figures)


if __name__ == "__main__":
    sys.exit(main())
