"""The house rules that a machine can check: who imports whom, and what is nowhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from system import ROOT

# Each package with what it may import of the suite (docs/architecture.md).
MAY_IMPORT = {
    "sac_core": set(),
    "sac_envs": set(),
    "sac_ros": {"sac_msgs", "sac_core"},
    "sac_learner": {"sac_msgs", "sac_core", "sac_ros"},
    "sac_actor": {"sac_msgs", "sac_core", "sac_envs", "sac_ros"},
    "franka_sim_bridge": {"sac_msgs", "sac_envs", "sac_ros"},
}
WITHOUT_ROS = {"sac_core", "sac_envs"}
WITHOUT_TORCH = {"sac_ros", "sac_actor", "sac_envs", "franka_sim_bridge"}
SUITE = {"sac_msgs", *MAY_IMPORT}


def imported_modules(package: str) -> set[str]:
    modules = set()
    for path in (ROOT / "src" / package / package).rglob("*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in item.names}
            elif isinstance(item, ast.ImportFrom) and item.module and item.level == 0:
                modules.add(item.module.split(".")[0])
    return modules - {package}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_in_the_direction_of_the_design(package: str) -> None:
    modules = imported_modules(package)
    assert modules & SUITE <= MAY_IMPORT[package]
    if package in WITHOUT_ROS:
        assert not {m for m in modules if m.startswith(("rclpy", "rosidl", "launch"))}
    if package in WITHOUT_TORCH:
        assert "torch" not in modules


def test_every_package_with_python_code_is_in_the_table() -> None:
    packages = {p.parent.name for p in (ROOT / "src").glob("*/setup.py")}
    assert packages == set(MAY_IMPORT)


def test_the_actor_process_never_loads_pytorch() -> None:
    code = "import sys, sac_actor.node, sac_actor.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nothing_is_pickled_or_evaluated() -> None:
    forbidden = re.compile(r"\b(import pickle|from pickle|pickle\.|torch\.load|torch\.save|eval\()")
    own = Path(__file__).resolve()
    files = [
        path
        for folder in ("src", "launch", "pip_underlay", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path.resolve() != own
    ]
    assert len(files) > 20
    found = [str(path) for path in files if forbidden.search(path.read_text())]
    assert found == []
