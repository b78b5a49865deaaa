"""Launch files mean what they mean to the real launch."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Workspace


def command_lines(output: str) -> dict[str, list[str]]:
    """Return what each worker received, by label, parameter files replaced by FILE."""
    found = {}
    for label, text in re.findall(r"^\[([\w-]+)\] ARGV (.*)$", output, re.MULTILINE):
        found[label] = [
            "FILE" if "launch_params_" in item else item
            for item in json.loads(text)
            if item not in ("--exit", "0")
        ]
    return found


def parameter_files(output: str) -> list[dict[str, Any]]:
    """Return the parameter files that the workers were given."""
    texts = re.findall(r"^\[[\w-]+\] PARAMS (.*)$", output, re.MULTILINE)
    return [yaml.safe_load(json.loads(text)) for text in texts]


def messages(output: str) -> list[str]:
    """Return what LogInfo wrote."""
    return re.findall(r"^\[INFO\] \[launch.user\]: (.*)$", output, re.MULTILINE)


NODES: list[tuple[str, list[str]]] = [
    ("", []),
    ("name='n'", ["-r", "__node:=n"]),
    ("namespace=''", ["-r", "__ns:=/"]),
    ("namespace='a/b/'", ["-r", "__ns:=/a/b"]),
    ("name='n', namespace='/a'", ["-r", "__node:=n", "-r", "__ns:=/a"]),
    ("remappings=[('a', 'b')]", ["-r", "a:=b"]),
    ("parameters=[{'a': 1}]", ["--params-file", "FILE"]),
    (
        "name='n', namespace='a', remappings=[('x', 'y')], parameters=[{'a': 1}]",
        ["-r", "__node:=n", "-r", "__ns:=/a", "--params-file", "FILE", "-r", "x:=y"],
    ),
]


def test_node_command_lines(workspace: Workspace) -> None:
    body = ", ".join(f"worker('--exit', '0', {options})" for options, _ in NODES)
    expected = {f"worker-{i}": ["--ros-args", *items] for i, (_, items) in enumerate(NODES, 1)}
    assert command_lines(workspace.output_of(body)) == expected


def test_ros_arguments_have_a_section_of_their_own(workspace: Workspace) -> None:
    output = workspace.output_of("worker('--exit', '0', 'x', ros_arguments=['--log-level', 'a'])")
    expected = ["x", "--ros-args", "--log-level", "a", "--ros-args"]
    assert command_lines(output) == {"worker-1": expected}


def test_labels_count_all_processes(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        worker("--exit", "0", exec_name="first"),
        worker("--exit", "0", condition=IfCondition("false")),
        worker("--exit", "0", prefix="nice -n 1"),
        ExecuteProcess(cmd=["echo", "ARGV []"], output="screen"),
        ExecuteProcess(cmd=["echo", "ARGV []"], name="named", output="screen"),
        """
    )
    assert set(command_lines(output)) == {"first-1", "nice-2", "echo-3", "named-4"}


PARAMETERS = [
    ("'1'", "1"),
    ("''", ""),
    ("7", 7),
    ("0.5", 0.5),
    ("True", True),
    ("LaunchConfiguration('one')", 1),
    ("LaunchConfiguration('yes')", True),
    ("LaunchConfiguration('items')", [1, 2]),
    ("LaunchConfiguration('nothing', default='')", ""),
    ("ParameterValue(LaunchConfiguration('one'), value_type=str)", "1"),
    ("ParameterValue(LaunchConfiguration('one'), value_type=float)", 1.0),
    ("ParameterValue(LaunchConfiguration('one'), value_type=bool)", True),
    ("ParameterValue(LaunchConfiguration('items'), value_type=List[int])", [1, 2]),
    ("ParameterValue(['v', LaunchConfiguration('one')], value_type=str)", "v1"),
    ("ParameterValue([1, 2.5])", [1.0, 2.5]),
    ("[1, 2]", [1, 2]),
    ("[1, 2.5]", [1.0, 2.5]),
    ("[True, False]", [True, False]),
    ("['1', 'b']", ["1", "b"]),
    ("['v', LaunchConfiguration('one')]", "v1"),
    ("[[LaunchConfiguration('word')], ['q']]", ["w", "q"]),
    ("PathJoinSubstitution(['a', 'b'])", "a/b"),
]


def test_parameter_values_keep_their_types(workspace: Workspace) -> None:
    values = ", ".join(f"'p{i}': {text}" for i, (text, _) in enumerate(PARAMETERS))
    output = workspace.output_of(
        f"""
        DeclareLaunchArgument("one", default_value="1"),
        DeclareLaunchArgument("yes", default_value="true"),
        DeclareLaunchArgument("items", default_value="[1, 2]"),
        DeclareLaunchArgument("word", default_value="w"),
        worker("--exit", "0", parameters=[{{{values}}}]),
        """
    )
    (content,) = parameter_files(output)
    received = content["/**"]["ros__parameters"]
    expected = [value for _, value in PARAMETERS]
    assert [repr(received[f"p{i}"]) for i in range(len(expected))] == [repr(v) for v in expected]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "expected a non-empty list of one type"),
        ("[1, 'a']", "expected a non-empty list of one type"),
        ("TextSubstitution(text='{a: 1}')", "reads as dict"),
        ("TextSubstitution(text=': {')", "is not YAML"),
        ("None", "a NoneType is not a parameter value"),
        ("ParameterValue(1, value_type=float)", "parameter value 1 is not float"),
        ("ParameterValue(TextSubstitution(text='x'), value_type=int)", "'x' is not int"),
        ("ParameterValue([1, 'a'])", "is not one type"),
    ],
)
def test_wrong_parameter_values_are_errors(workspace: Workspace, value: str, message: str) -> None:
    output = workspace.output_of(f"worker(parameters=[{{'p': {value}}}])", code=1)
    assert message in output


def test_parameters_are_for_the_full_name_where_it_is_known(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        worker("--exit", "0", name="n", namespace="a", parameters=[{"x": {"y": {"z": 1}}}]),
        """
    )
    assert parameter_files(output) == [{"/a/n": {"ros__parameters": {"x.y.z": 1}}}]
    assert "/**" in workspace.output_of("worker('--exit', '0', name='n', parameters=[{'a': 1}])")


def test_parameter_files_are_passed_in_order(workspace: Workspace) -> None:
    path = workspace.root / "params.yaml"
    path.write_text("/**: {ros__parameters: {who: $(var who), home: $(env HOME none)}}")
    output = workspace.output_of(
        f"""
        SetLaunchConfiguration("who", "me"),
        worker("--exit", "0", parameters=[
            "{path}", {{"a": 1}}, "/no/such.yaml", ParameterFile("{path}", allow_substs=True)]),
        """
    )
    assert command_lines(output)["worker-1"][1:] == [
        *("--params-file", str(path), "--params-file", "FILE", "--params-file", "FILE")
    ]
    assert parameter_files(output)[2]["/**"]["ros__parameters"]["who"] == "me"
    assert "[WARNING] [launch_ros.actions.node]: Parameter file path is not a file" in output


def test_groups_contain_namespaces_parameters_and_remaps(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        GroupAction([
            PushRosNamespace("outer"), SetParameter("p", True), SetRemap("a", "b"),
            worker("--exit", "0", namespace="inner", remappings=[("c", "d")]),
            worker("--exit", "0", namespace="/absolute"),
            worker("--exit", "0"),
        ]),
        worker("--exit", "0"),
        """
    )
    shared = ["-p", "p:=True", "-r", "a:=b"]
    assert command_lines(output) == {
        "worker-1": ["--ros-args", "-r", "__ns:=/outer/inner", *shared, "-r", "c:=d"],
        "worker-2": ["--ros-args", "-r", "__ns:=/absolute", *shared],
        "worker-3": ["--ros-args", "-r", "__ns:=/outer", *shared],
        "worker-4": ["--ros-args"],
    }


def test_set_parameter_refuses_what_the_real_launch_breaks(workspace: Workspace) -> None:
    assert "SetParameter('p') with a list" in workspace.output_of("SetParameter('p', [1])", code=1)


def test_includes_leak_and_groups_do_not(workspace: Workspace) -> None:
    workspace.write("DeclareLaunchArgument('inner', default_value='i')", "inner.launch.py")
    include = """
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([FindPackageShare("demo"), "launch", "inner.launch.py"])),
            launch_arguments={"given": ["g", "!"]}.items()),
        """
    show = "LogInfo(msg=[LaunchConfiguration(n, default='-') for n in ('given', 'inner')]),"
    assert messages(workspace.output_of(include + show)) == ["g!i"]
    assert messages(workspace.output_of(f"GroupAction([{include}]), {show}")) == ["--"]
    unscoped = f"GroupAction([{include}], scoped=False), {show}"
    assert messages(workspace.output_of(unscoped)) == ["g!i"]


def test_an_included_file_knows_where_it_is(workspace: Workspace) -> None:
    folder = workspace.launch_files / "below"
    folder.mkdir()
    workspace.write("LogInfo(msg=[ThisLaunchFile()])", "below/inner.launch.py")
    output = workspace.output_of(
        """
        LogInfo(msg=ThisLaunchFileDir()),
        IncludeLaunchDescription([ThisLaunchFileDir(), "/below/inner.launch.py"]),
        """
    )
    expected = [str(workspace.launch_files), str(folder / "inner.launch.py")]
    assert messages(output) == expected


def test_arguments(workspace: Workspace) -> None:
    body = """
        DeclareLaunchArgument("a", default_value="default", choices=["default", "other"]),
        LogInfo(msg=LaunchConfiguration("a")),
        """
    assert messages(workspace.output_of(body)) == ["default"]
    assert messages(workspace.output_of(body, "a:=x", "a:=other", "unknown:=1")) == ["other"]
    output = workspace.output_of(body, "a:=wrong", code=1)
    assert "\"wrong\" is not valid. Valid options are: ['default', 'other']" in output


def test_a_missing_argument_is_found_before_anything_starts(workspace: Workspace) -> None:
    body = "LogInfo(msg='started'), DeclareLaunchArgument('needed', description='the thing')"
    output = workspace.output_of(body, code=1)
    assert "missing required argument 'needed' (description: 'the thing')" in output
    assert messages(output) == []
    assert messages(workspace.output_of(body, "needed:=1")) == ["started"]


def test_conditions(workspace: Workspace) -> None:
    texts = {"true": "if", " TRUE ": "if", "1": "if", "false": "unless", "0": "unless"}
    output = workspace.output_of(
        "".join(
            f"""
        LogInfo(msg="{text}unless", condition=UnlessCondition("{text}")),
        LogInfo(msg="{text}if", condition=IfCondition(TextSubstitution(text="{text}"))),"""
            for text in texts
        )
    )
    assert messages(output) == [text + which for text, which in texts.items()]


def test_a_condition_that_is_neither_is_an_error(workspace: Workspace) -> None:
    output = workspace.output_of("LogInfo(msg='', condition=IfCondition('yes'))", code=1)
    assert "condition 'yes' is not one of true, 1, false, 0" in output


def test_the_environment_is_set_in_order_and_scoped(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        worker("--exit", "0"),
        GroupAction([
            SetEnvironmentVariable("GREETING", "hello"), worker("--exit", "0"),
            LogInfo(msg=EnvironmentVariable("GREETING")),
        ]),
        worker("--exit", "0", additional_env={"GREETING": "own"}),
        LogInfo(msg=EnvironmentVariable("GREETING", default_value="gone")),
        SetEnvironmentVariable("GREETING", "a"), UnsetEnvironmentVariable("GREETING"),
        worker("--exit", "0"),
        """
    )
    found = re.findall(r"^\[worker-(\d)\] GREETING (.*)$", output, re.MULTILINE)
    assert sorted(found) == [("1", "None"), ("2", "hello"), ("3", "own"), ("4", "None")]
    assert messages(output) == ["hello", "gone"]


def test_substitutions(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        SetLaunchConfiguration("n", "3"),
        LogInfo(msg=[PythonExpression([LaunchConfiguration("n"), " * 2 + sqrt(4)"])]),
        LogInfo(msg=[Command(["echo $HOME ", LaunchConfiguration("n")])]),
        LogInfo(msg=[EqualsSubstitution(LaunchConfiguration("n"), "3"),
                     NotEqualsSubstitution("true", "TRUE")]),
        LogInfo(msg=[FindPackagePrefix("demo")]),
        LogInfo(msg=[FindExecutable(name="sh")]),
        LogInfo(msg=[ExecutableInPackage("worker", "demo")]),
        OpaqueFunction(function=lambda context, end: [
            LogInfo(msg=LaunchConfiguration("n").perform(context) + end)], args=["!"]),
        """
    )
    found = messages(output)
    assert found[:4] == ["8.0", "$HOME 3", "truefalse", str(workspace.prefix)]
    assert found[4].endswith("/sh")
    assert found[5:] == [str(workspace.prefix / "lib/demo/worker"), "3!"]


@pytest.mark.parametrize(
    ("substitution", "message"),
    [
        ("LaunchConfiguration('x')", "launch configuration 'x' does not exist"),
        ("EnvironmentVariable('NO_SUCH')", "environment variable 'NO_SUCH' does not exist"),
        ("FindPackageShare('nope')", "package 'nope' not found"),
        ("FindExecutable(name='nope')", "executable 'nope' not found"),
        ("Command('false')", "command 'false' ended with 1"),
        ("Command('sh -c \"echo oops >&2\"')", "wrote to stderr"),
        ("PythonExpression('1 +')", "is not an expression"),
        ("PythonExpression('1 / 0')", "cannot evaluate '1 / 0'"),
    ],
)
def test_substitutions_without_a_value_are_errors(
    workspace: Workspace, substitution: str, message: str
) -> None:
    assert message in workspace.output_of(f"LogInfo(msg={substitution})", code=1)


def test_handlers_run_newest_first(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        first = worker("--exit", "3", on_exit=[LogInfo(msg="own")])
        def show(event, context):
            return LogInfo(msg=f"{event.process_name} {event.returncode} {event.pid > 0}")
        return LaunchDescription([
            RegisterEventHandler(OnProcessExit(target_action=first, on_exit=show)),
            RegisterEventHandler(OnProcessExit(on_exit=[LogInfo(msg="any")])),
            first,
            RegisterEventHandler(OnProcessExit(
                target_action=lambda action: action is first, on_exit=LogInfo(msg="newest"))),
            RegisterEventHandler(OnProcessStart(target_action=first,
                                                on_start=[LogInfo(msg="start")])),
            RegisterEventHandler(OnShutdown(
                on_shutdown=lambda event, context: LogInfo(msg=event.reason))),
        ])
        """
    )
    assert messages(output) == ["start", "newest", "own", "any", "worker-1 3 True", "idle"]


def test_a_process_can_start_when_another_ended(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        first = worker("--exit", "0")
        return LaunchDescription([first, RegisterEventHandler(
            OnProcessExit(target_action=first, on_exit=[worker("--exit", "0")]))])
        """
    )
    assert output.index("[worker-1]: process has finished") < output.index("[worker-2] ARGV")


def test_timers_fire_and_are_cancelled_by_the_end(workspace: Workspace) -> None:
    assert messages(
        workspace.output_of("TimerAction(period=0.05, actions=[LogInfo(msg='t')])")
    ) == ["t"]
    output = workspace.output_of(
        """
        TimerAction(period="60", actions=[LogInfo(msg="never")]),
        TimerAction(period=TextSubstitution(text="0.05"), actions=[Shutdown(reason="now")]),
        """
    )
    assert messages(output) == []


def test_respawn_restarts_with_the_same_label(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        worker("--exit", "0", respawn=True, respawn_delay=0.05, respawn_max_retries=2,
               on_exit=[LogInfo(msg="exit")]),
        """
    )
    assert output.count("[worker-1]: process started") == 3
    assert messages(output) == ["exit"] * 3


def test_the_end_does_not_wait_for_a_respawn(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        worker("--exit", "0", respawn=True, respawn_delay=60.0),
        TimerAction(period=0.5, actions=[EmitEvent(event=__import__("launch").events.Shutdown())]),
        """
    )
    assert output.count("process started") == 1


def test_a_process_that_was_shut_down_is_not_respawned(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        def on_exit(event, context):
            stay_down = ShutdownProcess(process_matcher=matches_action(event.action))
            return [EmitEvent(event=stay_down), worker("--exit", "0")]

        return LaunchDescription([
            worker("--exit", "0", respawn=True, respawn_delay=0.05, on_exit=on_exit)
        ])
        """
    )
    assert output.count("[worker-1]: process started") == 1
    assert output.count("[worker-2]: process started") == 1
    assert "was required" not in output


def test_a_process_can_be_shut_down_while_the_others_go_on(workspace: Workspace) -> None:
    running = workspace.launch(
        """
        first = worker(respawn=True)
        shut_down = EmitEvent(event=ShutdownProcess(process_matcher=matches_action(first)))
        return LaunchDescription([first, worker(), worker("--exit", "0", on_exit=[shut_down])])
        """
    )
    running.wait_for(r"\[worker-1\]: process has (finished|died)")
    running.wait_for(r"\[worker-2\] READY")
    running.send(signal.SIGINT)
    assert running.exit_code() == 0
    running.assert_nothing_is_left()
    assert running.output.count("[worker-1]: process started") == 1
    assert "sending signal 'SIGINT' to process[worker-2]" in running.output


@pytest.mark.parametrize(
    ("output", "screen", "log"),
    [
        ("'log'", {"err"}, {"out", "err"}),
        ("'screen'", {"out", "err"}, set()),
        ("'both'", {"out", "err"}, {"out", "err"}),
        ("{'stdout': 'screen', 'stderr': 'log'}", {"out"}, {"err"}),
    ],
)
def test_output_goes_where_it_is_wanted(
    workspace: Workspace, output: str, screen: set[str], log: set[str]
) -> None:
    shown = workspace.output_of(
        f"ExecuteProcess(cmd=['sh', '-c', 'echo out; echo err >&2'], output={output})"
    )
    logged = (workspace.root / "log/latest/launch.log").read_text()
    assert set(re.findall(r"^\[sh-1\] (.*)$", shown, re.MULTILINE)) == screen
    assert set(re.findall(r"^[\d.]+ \[sh-1\] (.*)$", logged, re.MULTILINE)) == log


def test_a_partial_last_line_is_not_lost(workspace: Workspace) -> None:
    output = workspace.output_of("worker('--exit', '0')")
    assert "[worker-1] partial line\n[INFO] [worker-1]: process has finished" in output


def test_a_process_can_have_a_terminal_and_a_shell(workspace: Workspace) -> None:
    output = workspace.output_of(
        """
        ExecuteProcess(cmd=["test -t 1 && echo tty; pwd"], shell=True, cwd="/", output="screen",
                       emulate_tty=True, name="shell"),
        """
    )
    assert "[shell-1] tty\n[shell-1] /\n" in output


def test_parameter_files_are_removed_at_the_end(workspace: Workspace) -> None:
    output = workspace.output_of("worker('--exit', '0', parameters=[{'a': 1}])")
    path = re.search(r"(/[^\"]*launch_params_[^\"]*)", output)
    assert path is not None
    assert not os.path.exists(path.group(1))
