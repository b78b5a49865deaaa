"""The house rules that a machine can check: who imports whom, and what is nowhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from system import ROOT

# Each package with what it may import of the suite (docs/architecture.md).
MAY_IMPORT = {
    "sac_core": set(),
    "sac_envs": set(),
    "sac_ros": {"sac_msgs", "sac_core", "sac_envs"},
    "sac_learner": {"sac_msgs", "sac_core", "sac_ros"},
    "sac_actor": {"sac_msgs", "sac_core", "sac_envs", "sac_ros"},
    "franka_sim_bridge": {"sac_msgs", "sac_envs", "sac_ros"},
    "sac_demos": {"sac_msgs", "sac_core", "sac_envs", "sac_ros"},
}
WITHOUT_ROS = {"sac_core", "sac_envs"}
WITHOUT_TORCH = {"sac_ros", "sac_actor", "sac_envs", "sac_demos", "franka_sim_bridge"}
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
    assert not {m for m in modules if m.startswith("tensorflow")}  # only tests have it


def test_every_package_with_python_code_is_in_the_table() -> None:
    packages = {p.parent.name for p in (ROOT / "src").glob("*/setup.py")}
    assert packages == set(MAY_IMPORT)


def test_the_actor_process_never_loads_pytorch() -> None:
    code = "import sys, sac_actor.node, sac_actor.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_figures_are_written_without_loading_tensorflow(tmp_path: Path) -> None:
    assert find_spec("tensorflow"), "the test tools include it"
    code = (
        "import pathlib, sys; from sac_learner.metrics import Metrics; "
        f"metrics = Metrics(pathlib.Path({str(tmp_path)!r}), '', {{}}, sys.exit); "
        "metrics.training(1, {'critic_loss': 0.5}); metrics.close(); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert list((tmp_path / "tensorboard").glob("events.*"))


# What runs code, or may, when it reads data.
UNSAFE_MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal",
}  # fmt: skip
UNSAFE_CALLS = {
    "eval", "exec", "torch.load", "torch.save", "torch.jit.load", "yaml.unsafe_load",
    "yaml.full_load",
}  # fmt: skip
# These are harmless with the right argument, whose name and value follow.
SAFE_WITH = {
    "np.load": ("allow_pickle", {"False"}),
    "numpy.load": ("allow_pickle", {"False"}),
    "np.save": ("allow_pickle", {"False"}),
    "numpy.save": ("allow_pickle", {"False"}),
    "yaml.load": ("Loader", {"yaml.SafeLoader", "yaml.CSafeLoader"}),
}
# In what is not Python: code that is handed to an interpreter.
UNSAFE_TEXT = re.compile(
    rf"\b(import|from)\s+({'|'.join(UNSAFE_MODULES)})\b|\b({'|'.join(UNSAFE_MODULES)})\.(load|dump)"
    r"|torch\.(load|save)\(|np\.load\(|yaml\.load\(|(?<![\w.$])(eval|exec)\("
)


def unsafe(code: str) -> list[str]:
    """What in this Python code runs, or may run, what it reads; each with its line."""
    found = []
    for item in ast.walk(ast.parse(code)):
        modules: list[str] = []
        if isinstance(item, ast.Import):
            modules = [alias.name for alias in item.names]
        elif isinstance(item, ast.ImportFrom):
            modules = [item.module or "", *(f"{item.module}.{one.name}" for one in item.names)]
        elif isinstance(item, ast.Call):
            called = ast.unparse(item.func)
            if called.endswith(("import_module", "__import__")):
                modules = [one.value for one in item.args if isinstance(one, ast.Constant)]
            arguments = {word.arg: ast.unparse(word.value) for word in item.keywords}
            if called.removeprefix("builtins.") in UNSAFE_CALLS:
                found.append(f"line {item.lineno}: {called}(")
            elif called in SAFE_WITH:
                name, values = SAFE_WITH[called]
                if arguments.get(name) not in values:
                    found.append(f"line {item.lineno}: {called}( without {name}={min(values)}")
            elif arguments.get("allow_pickle", "False") != "False":
                found.append(f"line {item.lineno}: {called}(allow_pickle=")
        for module in modules:
            if module.split(".")[0] in UNSAFE_MODULES or module in UNSAFE_CALLS | set(SAFE_WITH):
                found.append(f"line {item.lineno}: import of {module}")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import json, cloudpickle as c",
        "from joblib import load",
        "from marshal import loads",
        "import_module('dill')",
        "__import__('shelve').open('x')",
        "eval('1')",
        "builtins.exec(code)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=allowed)",
        "np.save(path, values)",
        "np.savez(path, a=values, allow_pickle=True)",
        "from numpy import load",
        "torch.load(path, weights_only=True)",
        "torch.save(agent, path)",
        "from torch import load",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
    ],
)
def test_what_runs_the_data_it_reads_is_recognised(code: str) -> None:
    assert unsafe(f"def function():\n    {code}")
    assert not unsafe(f"# {code}\nname = {code!r}")


@pytest.mark.parametrize(
    "code",
    [
        "agent.eval()",
        "np.load(path, allow_pickle=False)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.load(text, Loader=yaml.CSafeLoader)",
        "yaml.safe_load(text)",
        "json.load(file)",
        "import_module(name)",
    ],
)
def test_what_only_reads_is_allowed(code: str) -> None:
    assert unsafe(code) == []


def sources() -> list[Path]:
    """Every source file of the project, as git lists them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    other = {".md", ".png"}
    return [path for path in paths if path.is_file() and path.suffix not in other]


def test_nothing_is_pickled_or_evaluated() -> None:
    files = sources()
    assert len(files) > 200
    found = {}
    for path in files:
        text = path.read_text()
        if path.suffix == ".py":
            found[path] = unsafe(text)
        else:
            found[path] = [match[0] for match in UNSAFE_TEXT.finditer(text)]
    assert [
        f"{path.relative_to(ROOT)}: {what}" for path, whats in found.items() for what in whats
    ] == []
