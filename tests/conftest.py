"""What whole-system tests share: a ROS domain of their own, and processes that always end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from common import free_domain
from rclpy.node import Node
from system import Program
from typist import TerminalProgram

# Before any test uses ROS.
os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"  # as the nodes have it


def starting(folder: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start_program(*command: str) -> Program:
        programs.append(Program(list(command), folder))
        return programs[-1]

    yield start_program
    for program in reversed(programs):
        program.end()
        print(program.output)  # shown where a test fails


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start commands in an empty folder; every one of them is ended after the test."""
    yield from starting(tmp_path)


@pytest.fixture(scope="module")
def start_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Program]]:
    """As `start`, for what all tests of a module use; ended after the last of them."""
    yield from starting(tmp_path_factory.mktemp("module"))


@pytest.fixture
def start_at_terminal(tmp_path: Path) -> Iterator[Callable[..., TerminalProgram]]:
    """As `start`, each command with a terminal of its own."""
    programs: list[TerminalProgram] = []

    def start_program(*command: str) -> TerminalProgram:
        programs.append(TerminalProgram(list(command), tmp_path))
        return programs[-1]

    yield start_program
    for program in reversed(programs):
        program.end()


@pytest.fixture
def observer() -> Iterator[Node]:
    """A ROS node of the test's own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("observer", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.executor = executor
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
