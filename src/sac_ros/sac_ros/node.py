"""The lifecycle base of the suite's nodes, and the `main` that runs one.

A node does its long work in `work()` on the main thread, while callbacks run on an executor thread.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import queue
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sac_ros import qos
from sac_ros.parameters import P, UserError, declare, keep_current

T = TypeVar("T")
LAST_RESORT = 15.0  # s; then a process that does not end says where it is, and ends with 1
FAST_DDS_PROFILES = Path(__file__).with_name("fast_dds.xml")  # unless the user has others


class SacNode(LifecycleNode, Generic[P]):
    """A lifecycle node with parameters from a dataclass, `autostart`, and diagnostics at 1 Hz.

    Subclasses implement `configure`, `work`, and optionally `cleanup` and `diagnose`. `configure`
    raises `UserError` for anything that the user got wrong.
    """

    parameters: P

    def __init__(self, name: str, parameters: type[P]) -> None:
        super().__init__(name)
        self.session = secrets.randbits(63)
        self.parameters = declare(self, parameters)
        keep_current(self, self, "parameters")
        self.error: str | None = None  # set once the node cannot go on; `run` exits with 1
        self.active = threading.Event()
        self.stopping = threading.Event()
        self.idle = threading.Event()  # set while `work` is not in the middle of anything
        self.idle.set()
        self._jobs_closed = False
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS, qos_overriding_options=qos.OVERRIDABLE
        )
        self.create_timer(1.0, self._publish_diagnostics)

    # What a subclass provides.

    def configure(self) -> None:
        """Make what the node needs; raise UserError when that is impossible."""

    def work(self) -> None:
        """One bounded piece of the node's work, on the main thread, while the node is active."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Wake `work` if it waits for something (called on deactivation and shutdown)."""

    def cleanup(self) -> None:
        """Give back what `configure` made."""

    def finish(self) -> None:
        """Last actions of an orderly end, on the main thread, while messages still flow."""

    def stop(self) -> None:
        """Let the work under way end, then the process. For any thread, but no signal handler."""
        self.stopping.set()
        self.active.clear()
        self.interrupt()

    def fail(self, error: str) -> None:
        """End the node because of `error`; the process exits with 1. For any thread."""
        self.error = error
        self.stopping.set()
        self.interrupt()

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Level, one-line message and values for /diagnostics."""
        return DiagnosticStatus.OK, "ok", {}

    # The state machine.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.error = None
        try:
            self.configure()
        except UserError as error:
            self.error = str(error)
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        gc.collect()
        gc.freeze()  # later collections leave out what is here now: no long pause in mid-tick
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self.active.set()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._pause()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.cleanup()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._pause()
        self.stopping.set()
        return super().on_shutdown(state)

    def _pause(self) -> None:
        self.active.clear()
        self.interrupt()
        self.idle.wait(timeout=10.0)

    # Running.

    def on_main_thread(self, job: Callable[[], T]) -> T:
        """Run `job` on the main thread between two calls of `work`, and return its result.

        For callbacks on the executor thread. Raises what `job` raises, or CancelledError when the
        node stops first.
        """
        future: Future[T] = Future()
        self._jobs.put((job, future))
        self.interrupt()
        if self._jobs_closed:
            self._cancel_jobs()
        return future.result()

    def _run_jobs(self) -> None:
        while not self._jobs.empty():
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except Exception as error:  # it is raised again where the job was asked for
                future.set_exception(error)

    def _cancel_jobs(self) -> None:
        self._jobs_closed = True
        while True:
            try:
                self._jobs.get_nowait()[1].cancel()
            except queue.Empty:
                return

    def loop(self) -> None:
        """Call `work` while active, and the jobs of callbacks, until shutdown."""
        try:
            self._loop()
        finally:
            self._cancel_jobs()

    def _loop(self) -> None:
        while not self.stopping.is_set():
            self._run_jobs()
            if not self.active.wait(timeout=0.1):
                continue
            self.idle.clear()
            try:
                if self.active.is_set():
                    self.work()
            finally:
                self.idle.set()

    def _publish_diagnostics(self) -> None:
        level, message, values = self.diagnose()
        status = DiagnosticStatus(
            level=level, name=self.get_fully_qualified_name(), message=message, hardware_id="sac"
        )
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        out = DiagnosticArray(status=[status])
        out.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(out)


def side_node(parent: Node, name: str) -> Node:
    """A plain node in the namespace of `parent`, for entities that another thread takes care of.

    A launch file's name for the parent does not rename it.
    """
    return Node(
        name,
        namespace=parent.get_namespace(),
        context=parent.context,
        cli_args=["--ros-args", "-r", f"__node:={name}"],
        start_parameter_services=False,
        enable_rosout=False,
    )


class Spinner:
    """Runs the callbacks of a node on a thread of its own; `fail` is told why one broke off."""

    def __init__(self, node: Node, fail: Callable[[str], None]) -> None:
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._fail = fail
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="executor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let the callback that runs end, and stop; also when it never began."""
        self._stopping.set()
        self._executor.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout=2.0)
        self._executor.shutdown(timeout_sec=2.0)

    def _spin(self) -> None:
        try:
            while not self._stopping.is_set():
                self._executor.spin_once()
        except ExternalShutdownException:
            pass
        except BaseException as error:
            self._fail(f"a callback failed: {error!r}")
            raise


def _on_signals(stop: Callable[[], None]) -> None:
    """Have `stop` called after SIGINT and SIGTERM, on a thread of its own.

    A handler runs on the main thread between any two of its instructions, also where that holds a
    lock of an Event: setting the Event there would wait for ever.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while os.read(reader, 1):
            stop()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def set_up_fast_dds() -> None:
    """Before rclpy.init: the profiles of the suite, and UDP, unless the environment says otherwise.

    A process that is killed leaves locks and files of Fast DDS's shared memory to the others.
    Weights, batches and a lockstep are as fast without it (benchmarks/transport.py, sim_speed.py).
    """
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(FAST_DDS_PROFILES))
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")


def run(make: Callable[[], SacNode[Any]], name: str) -> int:
    """Run one node until it ends or the process is told to (SIGINT, SIGTERM); the exit status.

    The first signal ends `work` and lets the node finish while messages still flow; rclpy is shut
    down only afterwards. 0: orderly end; 1: the user got something wrong or the node failed.
    """
    set_up_fast_dds()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
    except (UserError, ParameterException) as error:
        get_logger(name).error(str(error))
        rclpy.shutdown()
        return 1

    _on_signals(node.stop)
    spinner = Spinner(node, node.fail)
    try:
        if node.parameters.autostart:
            node.trigger_configure()
            if node.error is None:
                node.trigger_activate()
        if node.error is None:
            spinner.start()
            try:
                node.loop()
            except UserError as error:
                node.error = str(error)
                node.get_logger().error(node.error)
            node.finish()
    finally:
        node.stopping.set()
        node.active.clear()
        spinner.stop()
        node.cleanup()
        # All that counts is done: whatever the middleware waits for now, the process ends.
        faulthandler.dump_traceback_later(LAST_RESORT, exit=True)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0 if node.error is None else 1


def main(make: Callable[[], SacNode[Any]], name: str) -> None:
    """Run one node and end the process with its exit status.

    At once: Python's own end would take the threads that still wait in C++ code away by unwinding
    their stacks, which C++ answers with an abort.
    """
    status = run(make, name)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    os._exit(status)
