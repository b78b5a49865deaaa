"""No process is left behind, whatever ends the launch."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Running, Workspace

TWO_WORKERS = "worker(), worker('--helper')"


def start_two_workers(workspace: Workspace, *arguments: str, **options: Any) -> Running:
    """Return a launch of two workers, one with a helper, once all of them run."""
    running = workspace.launch(
        TWO_WORKERS, "sigterm_timeout:=0.3", "sigkill_timeout:=0.2", *arguments, **options
    )
    running.wait_for("READY", count=2)
    running.wait_for("HELPER")
    return running


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_to_the_launcher_ends_all_in_order(workspace: Workspace, name: str) -> None:
    running = start_two_workers(workspace)
    running.send(signal.Signals[name])
    assert running.exit_code() == 0
    running.assert_nothing_is_left()
    assert running.output.count("GOT SIGINT") == 2
    assert running.output.count("process has finished cleanly") == 2


def test_killing_the_launcher_ends_all_in_order(workspace: Workspace) -> None:
    running = start_two_workers(workspace)
    running.send(signal.SIGKILL)
    running.assert_nothing_is_left()


def test_killing_the_guardian_ends_the_processes(workspace: Workspace) -> None:
    running = workspace.launch("worker(), worker()")
    running.wait_for("READY", count=2)
    (guardian,) = running.psutil.children()
    guardian.kill()
    running.exit_code()
    running.assert_nothing_is_left()
    assert "the guardian of the processes was killed" in running.output


def test_ctrl_c_on_a_terminal_reaches_each_process_once(workspace: Workspace) -> None:
    running = start_two_workers(workspace, terminal=True)
    os.write(running.terminal, b"\x03")
    assert running.exit_code() == 0
    running.assert_nothing_is_left()
    assert running.output.count("GOT SIGINT") == 2
    assert "user interrupted with ctrl-c (SIGINT)" in running.output


def test_a_second_ctrl_c_is_ignored_with_a_warning(workspace: Workspace) -> None:
    running = workspace.launch("worker('SIGINT', sigterm_timeout='1')")
    running.wait_for("READY")
    running.send(signal.SIGINT)
    running.wait_for("GOT SIGINT")
    running.send(signal.SIGINT)
    running.wait_for("again, ignoring")
    assert running.exit_code() == 0
    running.assert_nothing_is_left()


def test_a_closed_terminal_ends_all(workspace: Workspace) -> None:
    running = start_two_workers(workspace, terminal=True)
    running.hang_up()
    running.assert_nothing_is_left()


def test_a_deaf_process_gets_sigterm_then_sigkill(workspace: Workspace) -> None:
    running = workspace.launch(
        "worker('SIGINT', 'SIGTERM', sigterm_timeout='0.2'), worker('SIGINT')",
        *("sigterm_timeout:=0.3", "sigkill_timeout:=0.4"),
    )
    running.wait_for("READY", count=2)
    running.send(signal.SIGINT)
    assert running.exit_code() == 0
    running.assert_nothing_is_left()
    assert "failed to terminate '0.2' seconds after receiving 'SIGINT'" in running.output
    assert "failed to terminate '0.4' seconds after receiving 'SIGTERM'" in running.output
    assert "exit code -9" in running.output
    assert "[worker-2] GOT SIGTERM" in running.output


def test_an_error_after_processes_started_ends_them(workspace: Workspace) -> None:
    running = workspace.launch(
        """
        worker(),
        RegisterEventHandler(OnProcessStart(on_start=[
            Node(package="demo", executable="missing")])),
        """
    )
    assert running.exit_code() == 1
    running.assert_nothing_is_left()
    assert "process started" in running.output
    assert "'missing' not found in package 'demo'; it has: worker" in running.output


def test_an_error_in_the_description_starts_nothing(workspace: Workspace) -> None:
    output = workspace.output_of("worker(), Node(package='demo', executable='missing')", code=1)
    assert "process started" not in output
    assert "'missing' not found" in output


def test_an_error_of_the_launch_file_itself_ends_with_one_line(workspace: Workspace) -> None:
    body = "worker(), OpaqueFunction(function=lambda context: 1 / 0)"
    output = workspace.output_of(body, code=1)
    assert "Caught exception in launch: ZeroDivisionError: division by zero" in output
    assert "Traceback" not in output
    assert "Traceback" in workspace.output_of(body, "--debug", code=1)


def test_a_command_that_does_not_exist_is_an_error(workspace: Workspace) -> None:
    output = workspace.output_of("ExecuteProcess(cmd=['/no/such/file'])", code=1)
    assert "process[file-1] cannot be started" in output


def test_sigint_is_not_ignored_in_a_background_job(workspace: Workspace) -> None:
    running = workspace.launch("worker()", shell='trap "" INT; exec "$@"')
    running.wait_for("READY")
    assert "SIGINT is <built-in function default_int_handler>" in running.output
    running.send(signal.SIGINT)
    assert running.exit_code() == 0
    running.assert_nothing_is_left()


def test_a_helper_that_outlives_its_node_is_ended(workspace: Workspace) -> None:
    body = "worker('--helper', '--exit', '0')"
    output = workspace.output_of(body, "sigterm_timeout:=0.2", "sigkill_timeout:=0.2")
    assert "ending processes that were left behind" in output


def test_output_that_nobody_reads_does_not_stop_the_launch(workspace: Workspace) -> None:
    running = workspace.launch("worker(output='both')", shell='"$@" | head -n 1')
    running.wait_for("All log files")
    log = workspace.root / "log/latest/launch.log"
    workspace.wait_until(lambda: log.exists() and "READY" in log.read_text(), "a start")
    launcher = int(log.resolve().parent.name.rpartition("-")[2])  # the folder's name ends so
    os.kill(launcher, signal.SIGINT)
    running.assert_nothing_is_left()
    assert "process has finished cleanly" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("'--exit', '0'", 0), ("'--exit', '3'", 1), ("'--abort'", 1)],
)
def test_the_exit_code_tells_if_a_required_process_failed(
    workspace: Workspace, arguments: str, code: int
) -> None:
    action = "Shutdown()" if code else "[Shutdown(reason='done')]"
    output = workspace.output_of(f"worker(), worker({arguments}, on_exit={action})", code=code)
    assert "process[worker-2] was required: shutting down launched system" in output
    assert "process[worker-1]" in output


def test_other_processes_may_fail(workspace: Workspace) -> None:
    output = workspace.output_of("worker('--exit', '3')")
    assert "process has died [pid" in output
    assert "exit code 3, cmd '" in output


def test_run_becomes_the_executable(workspace: Workspace) -> None:
    running = workspace.ros2("run", "demo", "worker", "--some", "-x", "--ros-args")
    pid = running.wait_for(r"READY (\d+)").group(1)
    assert int(pid) == running.pid
    assert 'ARGV ["--some", "-x", "--ros-args"]' in running.output
    running.send(signal.SIGTERM)
    assert running.exit_code() == 0
    failing = workspace.ros2("run", "--prefix", "env A=1", "demo", "worker", "--exit", "7")
    assert failing.exit_code() == 7
