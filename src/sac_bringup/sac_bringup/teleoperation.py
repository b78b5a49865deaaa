"""A person's teleoperation as a node of a launch: whoever records, or helps during training."""

from __future__ import annotations

from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext
from sac_bringup import security
from sac_bringup.arguments import Table, value
from sac_bringup.restart import restarted
from sac_bringup.viewers import configuration

# Each with its executable and its parameters.
DEVICES = {
    "keyboard": ("teleop_keyboard", "teleop_keyboard.yaml"),
    "joy": ("teleop_joy", "teleop_gamepad.yaml"),
}
ARGUMENTS: Table = {
    "operator_name": ("", "Who acts and judges; goes into the recordings"),
    "teleop_params_file": (
        "",
        "Parameters of the teleoperation; empty = those of the keyboard, or of an Xbox-like pad",
    ),
    "joy_topic": ("joy", "Topic of the gamepad's driver; spacenav/joy for a SpaceMouse"),
}


def device(context: LaunchContext) -> str:
    """What the argument teleop says; RuntimeError, which ends the launch, if it means nothing."""
    name = value(context, "teleop")
    if name not in ("none", *DEVICES):
        raise RuntimeError(f"teleop: expected none, {' or '.join(DEVICES)}, got {name!r}")
    return name


def teleoperation(context: LaunchContext, actor: str, namespace: str, shared: str) -> list[Node]:
    """What teleoperates `actor` in `namespace`, whose learner is in `shared`; nothing for none."""
    name = device(context)
    if name == "none":
        return []
    executable, file = DEVICES[name]
    status = f"/{shared}/sac/actor/status" if shared else "/sac/actor/status"
    return [
        Node(
            package="sac_demos",
            executable=executable,
            name=executable,
            namespace=namespace,
            output="screen",
            ros_arguments=security.enclave("teleop"),
            parameters=[
                value(context, "teleop_params_file") or configuration(file),
                {"actor": actor, "operator_name": LaunchConfiguration("operator_name")},
            ],
            remappings=[("sac/actor/status", status), ("joy", LaunchConfiguration("joy_topic"))],
            **restarted(),
        )
    ]
