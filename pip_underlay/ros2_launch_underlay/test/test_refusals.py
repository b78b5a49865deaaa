"""What is not supported or not there is said in one line that names what is."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from typing import TYPE_CHECKING

import pytest
from ros2_launch_underlay import aliases
from ros2_launch_underlay.expression import evaluate_expression
from ros2_launch_underlay.refusal import LaunchError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workspace


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("from launch.actions import Foo", "'launch.actions.Foo'"),
        ("import launch; launch.actions.Foo", "'launch.actions.Foo'"),
        ("from launch_ros.actions import ComposableNodeContainer", "ComposableNodeContainer'"),
        ("import launch.frontend", "'launch.frontend'"),
        ("from launch import frontend", "'launch.frontend'"),
        ("from launch_ros import Foo", "'launch_ros.Foo'"),
    ],
)
def test_unknown_names_are_refused(workspace: Workspace, statement: str, name: str) -> None:
    path = workspace.write("")
    path.write_text(f"{statement}\n")
    running = workspace.ros2("launch", str(path))
    assert running.exit_code() == 1
    (line,) = [line for line in running.output.splitlines() if "not supported" in line]
    assert name in line
    assert "supported: " in line
    assert "Traceback" not in running.output


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        ("worker(ros_argument=[])", "'Node(ros_argument=…)'"),
        ("worker(cmd=[])", "'Node(cmd=…)'"),
        ("LogInfo(message='x')", "'LogInfo(message=…)' is not supported here; supported: msg"),
        ("GroupAction([], forwarding=False)", "'GroupAction(forwarding=…)'"),
        ("worker(output='own_log')", "output='own_log'"),
        ("IncludeLaunchDescription('a.launch.xml')", "the XML launch file"),
        ("IncludeLaunchDescription('a.launch.yaml')", "the YAML launch file"),
        ("LogInfo(msg=PythonExpression('open(1)'))", "'open' in a PythonExpression"),
        ("LogInfo(msg=PythonExpression('1', ['os']))", "module 'os'"),
        ("worker(name='a/b')", "'a/b' is not a valid name"),
        ("worker(parameters={})", "Node(parameters=…) expects a list"),
        ("'text'", "expected an action or a launch description, got 'text'"),
        ("LogInfo(msg=3)", "expected a text, a substitution or a list of both, got 3"),
    ],
)
def test_unknown_options_are_refused(workspace: Workspace, entity: str, message: str) -> None:
    output = workspace.output_of(entity, code=1)
    assert message in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["topic", "list"], "'ros2 topic' is not supported here; supported: launch, run, pkg"),
        (["pkg", "create"], "'ros2 pkg create' is not supported"),
        (["launch", "--print", "demo"], "'ros2 launch --print' is not supported"),
        (["launch", "--no-such", "demo"], "--no-such"),
        (["launch", "nope", "a.launch.py"], "packages with launch files: demo"),
        (["launch", "demo", "a.launch.py"], "it has: one.launch.py, two.launch.py"),
        (["launch", "demo"], "name a launch file of package 'demo'; it has: one.launch.py"),
        (["launch", "./nope.launch.py"], "launch file './nope.launch.py' does not exist"),
        (["launch", "demo", "one.launch.py", "x=1"], "'x=1', expected format '<name>:=<value>'"),
        (["launch", "demo", "one.launch.py", "x:="], "malformed launch argument 'x:='"),
        (["run", "demo", "nope"], "'nope' not found in package 'demo'; it has: worker"),
        (["run", "nope", "nope"], "package 'nope' not found"),
        (["run", "demo"], "the following arguments are required: executable_name"),
    ],
)
def test_wrong_commands_end_with_one_line(
    workspace: Workspace, arguments: list[str], message: str
) -> None:
    for name in ("one.launch.py", "two.launch.py"):
        workspace.write("", name)
    running = workspace.ros2(*arguments)
    assert running.exit_code() == 1
    assert message in running.output
    assert len(running.output.splitlines()) == 1


def test_show_args(workspace: Workspace) -> None:
    workspace.write("DeclareLaunchArgument('inner')", "inner.launch.py")
    workspace.write(
        """
        DeclareLaunchArgument("a", default_value=["x", LaunchConfiguration("b")],
                              description="What it is"),
        DeclareLaunchArgument("b", choices=["1", "2"], condition=IfCondition("true")),
        IncludeLaunchDescription(PathJoinSubstitution(
            [FindPackageShare("demo"), "launch", "inner.launch.py"])),
        IncludeLaunchDescription([ThisLaunchFileDir(), "/unknown.launch.py"]),
        """
    )
    running = workspace.ros2("launch", "demo", "test.launch.py", "--show-args")
    assert running.exit_code() == 0
    assert running.output == (
        "Arguments (pass arguments as '<name>:=<value>'):\n"
        "\n    'a':\n        What it is\n        (default: 'x' + LaunchConfig('b'))\n"
        "\n    'b':*\n        One of: ['1', '2']\n"
        "\n    'inner':\n        no description given\n"
        "\n* argument(s) which are only used if specific conditions occur\n"
    )


def test_pkg(workspace: Workspace) -> None:
    for arguments, expected in (
        (["prefix", "demo"], f"{workspace.prefix}\n"),
        (["list"], "demo\n"),
        (["executables"], "demo worker\n"),
        (["executables", "demo"], "demo worker\n"),
    ):
        running = workspace.ros2("pkg", *arguments)
        assert running.exit_code() == 0
        assert running.output == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("7 // 2 % 2 ** 2", 3),
        ("-pi < 0 <= 1 != 2", True),
        ("'a' in ['a', 'b'] and not 'c' == 'd'", True),
        ("'' or 'fallback'", "fallback"),
        ("'x'.upper() + str(int('3'))", "X3"),
        ("1 if False else max(2, 3)", 3),
        ("math.floor(2.5)", 2),
    ],
)
def test_expressions(text: str, value: object) -> None:
    assert evaluate_expression(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "().__class__",
        "[x for x in 'a']",
        "lambda: 1",
        "'a'.format(1)",
        "f'{1}'",
    ],
)
def test_expressions_that_do_more_are_refused(text: str) -> None:
    with pytest.raises(LaunchError, match="not supported here"):
        evaluate_expression(text)


def test_the_stand_in_steps_back_for_the_real_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    real = tmp_path / "site" / "launch"
    real.mkdir(parents=True)
    (real / "__init__.py").touch()
    (real / "launch_description.py").touch()
    monkeypatch.syspath_prepend(str(real.parent))
    assert aliases.real_launch() == str(real)
    assert not aliases.install()
    monkeypatch.setenv("PYTHONPATH", str(real.parent))
    running = workspace.ros2("launch", "demo", "x.launch.py")
    assert running.exit_code() == 1
    assert f"the real launch is at {real}" in running.output


def test_an_unrelated_project_named_launch_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    (tmp_path / "site" / "launch").mkdir(parents=True)
    (tmp_path / "site" / "launch" / "__init__.py").write_text("raise RuntimeError('not ROS')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    assert "hello" in workspace.output_of("LogInfo(msg='hello')")


def test_a_folder_named_launch_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    (tmp_path / "source" / "launch").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "source"))
    assert "hello" in workspace.output_of("LogInfo(msg='hello')")


def test_every_name_can_be_imported() -> None:
    for module in aliases.EXPORTS:
        for name in aliases._names_below(module):
            assert getattr(importlib.import_module(module), name) is not None
    assert isinstance(sys.modules["launch"].__spec__, importlib.machinery.ModuleSpec)
