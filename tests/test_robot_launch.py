"""Launch files for the robot, against stand-ins of what is on a robot's PC and not here."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.node import Node
from sac_bringup.robot import FRANKA_ARGUMENTS
from stand_ins import StandIns, Started, all_started, started
from std_srvs.srv import Trigger
from system import ROOT, Program, Start, call, spin_until

from sac_msgs.msg import ActorStatus, WatchdogStatus
from sac_ros import qos

# franka_bringup/launch/franka.launch.py of franka_ros2 3.4.0: its arguments with their defaults.
ARGUMENTS = {
    "robot_type": "",
    "arm_prefix": "",
    "namespace": "",
    "robot_ip": "172.16.0.3",
    "load_gripper": "false",
    "use_fake_hardware": "false",
    "fake_sensor_commands": "false",
    "joint_state_rate": "30",
    "load_franka_robot_state_broadcaster": "true",
    "controllers_yaml": "franka_bringup's own",
}
# The same nodes under the same conditions; `arguments` says what each argument came to.
FRANKA_LAUNCH = f"""
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

ARGUMENTS = {ARGUMENTS!r}

def nodes(context):
    given = {{name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}}
    namespace, is_fake = given["namespace"], given["use_fake_hardware"] == "true"

    def spawner(*arguments):
        return Node(package="controller_manager", executable="spawner", namespace=namespace,
                    arguments=[*arguments], output="screen")

    found = [
        Node(package="franka_bringup", executable="arguments",
             arguments=[f"{{name}}={{value}}" for name, value in given.items()]),
        Node(package="robot_state_publisher", executable="robot_state_publisher",
             namespace=namespace, parameters=[{{"robot_description": "<robot/>"}}]),
        Node(package="controller_manager", executable="ros2_control_node", namespace=namespace,
             parameters=[given["controllers_yaml"], {{"robot_type": given["robot_type"]}}],
             on_exit=Shutdown()),
        Node(package="joint_state_publisher", executable="joint_state_publisher",
             name="joint_state_publisher", namespace=namespace),
        spawner("joint_state_broadcaster", "--controller-ros-args",
                "--remap joint_states:=franka/joint_states"),
    ]
    if given["load_franka_robot_state_broadcaster"] == "true" and not is_fake:
        found.append(spawner("franka_robot_state_broadcaster"))
    if given["load_gripper"] == "true":
        executable = "fake_gripper_state_publisher.py" if is_fake else "franka_gripper_node"
        found.append(Node(package="franka_gripper", executable=executable, name="franka_gripper",
                          namespace=namespace))
    return found

def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(n, default_value=v, description=n) for n, v in ARGUMENTS.items()),
        OpaqueFunction(function=nodes),
    ])
"""
RUNNING = (
    "robot_state_publisher/robot_state_publisher",
    "controller_manager/ros2_control_node",
    "joint_state_publisher/joint_state_publisher",
    "franka_gripper/franka_gripper_node",
    "franka_gripper/fake_gripper_state_publisher.py",
    "sac_actor/actor",
    "sac_actor/watchdog",
    "sac_actor/robot_reset",
    "sac_demos/recorder",
    "sac_demos/teleop_keyboard",
)
PLUGINS = ("crisp_controllers", "joint_trajectory_controller", "velocity_controllers")


def version(share: Path, text: str) -> None:
    (share / "package.xml").write_text(f"<package><version>{text}</version></package>")


@pytest.fixture
def robot_pc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """A PC with franka_ros2; the suite's own programs are stand-ins, too: no robot is there."""
    packages = StandIns(tmp_path / "prefix", monkeypatch)
    for name in RUNNING:
        packages.program(*name.split("/"))
    for name in ("controller_manager/spawner", "sac_actor/robot_setup", "franka_bringup/arguments"):
        packages.program(*name.split("/"), status=0)
    for name in PLUGINS:
        packages.package(name)
    packages.launch_file("franka_bringup", "franka.launch.py", FRANKA_LAUNCH)
    version(packages.package("franka_bringup"), "3.4.0")
    return packages


def train(start: Start, *arguments: str) -> Program:
    given = ["task:=pick_cube", "robot_ip:=172.16.0.2", *arguments]
    return start("ros2", "launch", "sac_bringup", "franka_train.launch.py", *given)


def deploy(start: Start, *arguments: str) -> Program:
    given = ["task:=pick_cube", "robot_ip:=172.16.0.2", "checkpoint:=p.safetensors", *arguments]
    return start("ros2", "launch", "sac_bringup", "deploy.launch.py", *given)


def record(start: Start, *arguments: str) -> Program:
    return start("ros2", "launch", "sac_bringup", "record_demos.launch.py", *arguments)


def received(program: Program) -> dict[str, str]:
    """What franka.launch.py was given."""
    words = started(program, "franka_bringup/arguments").own
    return dict(word.split("=", 1) for word in words)


def spawned(program: Program, *expected: str) -> dict[str, list[str]]:
    """The arguments of every spawner by the controller's name, once these have all come."""
    for name in expected:
        program.wait_for(rf'controller_manager/spawner", "arguments": \["{name}"')
    return {
        spawner.own[0]: spawner.own[1:]
        for spawner in all_started(program, "controller_manager/spawner")
    }


def order(program: Program) -> list[str]:
    """Programs and spawned controllers in the order in which they said that they run."""
    lines = [
        json.loads(line.split("STAND-IN ")[1]) for line in program.lines if "STAND-IN " in line
    ]
    return [
        f"spawner {said['arguments'][0]}"
        if said["program"].endswith("/spawner")
        else said["program"]
        for said in lines
    ]


def refused(program: Program) -> str:
    """The one line of a launch that starts nothing and fails."""
    assert program.wait() == 1
    assert "process started" not in program.output
    assert "Traceback" not in program.output
    (line,) = [line for line in program.lines if "[ERROR]" in line]
    return line


def test_the_arguments_are_those_of_franka_bringup() -> None:
    assert set(FRANKA_ARGUMENTS) == set(ARGUMENTS)


@pytest.mark.parametrize("command", ["cartesian_impedance", "joint_trajectory", "joint_velocity"])
def test_the_robots_pc_starts_completely_and_in_the_only_order_that_works(
    command: str, start: Start, robot_pc: StandIns
) -> None:
    program = train(start, f"command:={command}", "seed:=3")
    actor = started(program, "sac_actor/actor")
    reset = started(program, "sac_actor/robot_reset")
    given = received(program)
    controllers = yaml.safe_load(Path(given.pop("controllers_yaml")).read_text())
    assert given == {
        "robot_type": "fr3",
        "arm_prefix": "",
        "namespace": "",
        "robot_ip": "172.16.0.2",
        "load_gripper": "true",
        "use_fake_hardware": "false",
        "fake_sensor_commands": "false",
        "joint_state_rate": "30",
        "load_franka_robot_state_broadcaster": "true",
    }
    controller = f"{command}_controller"
    names = (controller, "joint_state_broadcaster", "franka_robot_state_broadcaster")
    spawners = spawned(program, *names)
    assert set(spawners) == set(names)
    # That of robot_reset, too, whatever the policy speaks to.
    driver = [] if command == "joint_trajectory" else ["joint_trajectory_controller"]
    assert spawners[controller] == [*driver, "--inactive", "--controller-manager-timeout", "30"]
    assert controller in controllers["/**"]["controller_manager"]["ros__parameters"]
    assert controllers["/**"][controller]["ros__parameters"]["joints"] == [
        f"fr3_joint{index}" for index in range(1, 8)
    ]
    manager = started(program, "controller_manager/ros2_control_node")
    assert manager.files[0] == controllers

    happened = order(program)
    first, then = happened.index(f"spawner {controller}"), happened.index("sac_actor/robot_setup")
    assert first < then < min(map(happened.index, ("sac_actor/actor", "sac_actor/robot_reset")))

    assert started(program, "sac_actor/robot_setup").parameters == settings("robot_setup")
    assert reset.parameters == settings("robot_reset") | {"task": "pick_cube"}
    guarded = started(program, "sac_actor/watchdog")
    said = {"command": command, "actor_id": "sac_actor"}
    assert guarded.parameters == settings("watchdog") | said
    assert actor.remappings["__node"] == "sac_actor"
    acting = actor.parameters
    assert (acting["task"], acting["command"], acting["seed"]) == ("pick_cube", command, 3)
    assert acting["watchdog_timeout"] > 0.0  # without a watchdog it does not act
    real_time = settings("pick_cube/actor_real_time")
    assert {name: acting[name] for name in real_time} == real_time
    assert not all_started(program, "sac_learner/learner")
    assert program.interrupt() == 0


def settings(name: str) -> dict[str, Any]:
    text = (ROOT / "config" / f"{name}.yaml").read_text()
    return dict(yaml.safe_load(text)["/**"]["ros__parameters"])


@pytest.mark.parametrize("failing", ["controller_manager/spawner", "sac_actor/robot_setup"])
def test_nothing_moves_when_a_step_before_fails(
    failing: str, start: Start, robot_pc: StandIns
) -> None:
    robot_pc.program(*failing.split("/"), status=1)
    program = train(start)
    assert program.wait() == 1
    assert not all_started(program, "sac_actor/actor")
    assert not all_started(program, "sac_actor/robot_reset")
    assert not program.descendants()


def test_fake_hardware_runs_as_far_as_it_can_and_says_what_is_missing(
    start: Start, robot_pc: StandIns
) -> None:
    program = start(
        "ros2", "launch", "sac_bringup", "franka_train.launch.py", "task:=reach",
        "use_fake_hardware:=true", "fake_sensor_commands:=true", "robot_type:=fer",
        "command:=joint_trajectory",
    )  # fmt: skip
    actor = started(program, "sac_actor/actor")
    started(program, "sac_actor/robot_reset")
    started(program, "sac_actor/watchdog")
    started(program, "franka_gripper/fake_gripper_state_publisher.py")
    assert not all_started(program, "sac_actor/robot_setup")
    assert actor.parameters["robot_type"] == "fer"
    given = received(program)
    assert (given["use_fake_hardware"], given["fake_sensor_commands"]) == ("true", "true")
    names = ("joint_state_broadcaster", "joint_trajectory_controller")
    assert set(spawned(program, *names)) == set(names)
    (line,) = [line for line in program.lines if "Fake hardware:" in line]
    for missing in ("thresholds", "error_recovery", "tool pose", "hand"):
        assert missing in line
    assert program.interrupt() == 0


def test_two_robots_in_namespaces_share_a_learner_and_nothing_else(
    start: Start, robot_pc: StandIns
) -> None:
    seen: dict[str, dict[str, Started]] = {}
    for name in ("robot_left", "robot_right"):
        program = train(start, f"namespace:={name}", "load_gripper:=false")
        names = ("actor", "robot_reset", "robot_setup", "watchdog")
        seen[name] = {one: started(program, f"sac_actor/{one}") for one in names}
        assert received(program)["namespace"] == name
        for spawner in all_started(program, "controller_manager/spawner"):
            assert spawner.remappings["__ns"] == f"/{name}"
        assert not all_started(program, "franka_gripper/franka_gripper_node")
        assert program.interrupt() == 0
    for name, programs in seen.items():
        for program_started in programs.values():
            assert program_started.remappings["__ns"] == f"/{name}"
        actor, watchdog = programs["actor"], programs["watchdog"]
        assert actor.remappings["__node"] == f"sac_actor_{name}"
        assert watchdog.parameters["actor_id"] == f"sac_actor_{name}"
        for topic in ("transitions", "transitions_ack", "policy", "actor/status"):
            assert actor.remappings[f"sac/{topic}"] == f"/sac/{topic}"
        assert watchdog.remappings["sac/actor/status"] == "/sac/actor/status"


def test_a_learner_in_a_namespace_is_where_the_actor_sends(
    start: Start, robot_pc: StandIns
) -> None:
    program = train(start, "learner_namespace:=lab")
    actor, watchdog = (started(program, f"sac_actor/{name}") for name in ("actor", "watchdog"))
    assert actor.remappings["sac/transitions"] == "/lab/sac/transitions"
    assert watchdog.remappings["sac/actor/status"] == "/lab/sac/actor/status"
    assert program.interrupt() == 0


def test_a_prefix_is_in_the_names_of_the_joints_that_controllers_and_watchdog_get(
    start: Start, robot_pc: StandIns
) -> None:
    program = train(start, "arm_prefix:=left")
    actor, watchdog = (started(program, f"sac_actor/{name}") for name in ("actor", "watchdog"))
    given = received(program)
    assert given["arm_prefix"] == "left"
    text = Path(given["controllers_yaml"]).read_text()
    assert "left_fr3_joint7" in text
    assert "$(" not in re.sub(r"#.*", "", text)
    assert actor.parameters["arm_prefix"] == watchdog.parameters["arm_prefix"] == "left"
    for name in ("robot_setup", "robot_reset"):
        assert started(program, f"sac_actor/{name}").parameters["arm_prefix"] == "left"
    assert program.interrupt() == 0


def test_controllers_of_ones_own_take_the_place_of_ours(
    start: Start, robot_pc: StandIns, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("/**:\n  mine:\n    ros__parameters:\n      joints: [$(var arm)_joint1]\n")
    program = train(start, f"controllers_yaml:={own}")
    started(program, "sac_actor/actor")
    given = yaml.safe_load(Path(received(program)["controllers_yaml"]).read_text())
    assert given == {"/**": {"mine": {"ros__parameters": {"joints": ["fr3_joint1"]}}}}
    assert program.interrupt() == 0


def test_limits_of_ones_own_take_the_place_of_ours(
    start: Start, robot_pc: StandIns, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    limits = {"mass": 0.4, "joint_velocity": 0.2, "command_timeout": 0.3, "ask_operator": False}
    own.write_text(yaml.safe_dump({"/**": {"ros__parameters": limits}}))
    nodes = ("robot_setup", "robot_reset", "watchdog")
    program = train(start, *(f"{node}_params_file:={own}" for node in nodes))
    assert started(program, "sac_actor/robot_setup").parameters["mass"] == 0.4
    reset = started(program, "sac_actor/robot_reset").parameters
    assert (reset["joint_velocity"], reset["ask_operator"]) == (0.2, False)
    assert started(program, "sac_actor/watchdog").parameters["command_timeout"] == 0.3
    assert program.interrupt() == 0


def test_the_policy_alone_on_the_robot_has_a_watchdog_and_no_learner(
    start: Start, robot_pc: StandIns
) -> None:
    program = deploy(start, "episodes:=20", "ask_operator:=false")
    actor = started(program, "sac_actor/actor")
    acting = actor.parameters
    assert (acting["checkpoint"], acting["max_episodes"]) == ("p.safetensors", 20)
    assert actor.arguments[actor.arguments.index("--enclave") + 1] == "/sac/deploy"
    assert started(program, "sac_actor/robot_reset").parameters["ask_operator"] is False
    assert started(program, "sac_actor/watchdog").parameters["actor_id"] == "sac_actor"
    assert acting["watchdog_timeout"] > 0.0
    happened = order(program)
    assert happened.index("sac_actor/robot_setup") < happened.index("sac_actor/actor")
    assert "franka_sim_bridge" not in program.output
    assert program.interrupt() == 0


def test_two_deployments_in_namespaces_are_told_apart(start: Start, robot_pc: StandIns) -> None:
    for name in ("robot_left", "robot_right"):
        program = deploy(start, f"namespace:={name}")
        actor = started(program, "sac_actor/actor")
        assert actor.remappings["__node"] == f"sac_actor_{name}"
        watched = started(program, "sac_actor/watchdog").parameters["actor_id"]
        assert watched == f"sac_actor_{name}"
        assert program.interrupt() == 0


@pytest.mark.parametrize("demonstrator", ["teleop", "scripted"])
def test_demonstrations_on_the_robot_go_the_way_of_the_policy(
    demonstrator: str, start: Start, robot_pc: StandIns, tmp_path: Path
) -> None:
    program = record(
        start, "robot_ip:=172.16.0.2", "namespace:=left", f"demonstrator:={demonstrator}",
        "num_episodes:=20", f"save_path:={tmp_path / 'demos'}", "operator_name:=Ada",
    )  # fmt: skip
    actor = started(program, "sac_actor/actor")
    acting = actor.parameters
    assert (acting["behaviour"], acting["max_episodes"]) == (demonstrator, 20)
    assert acting["wait_for_recorder"] is True
    assert acting["watchdog_timeout"] > 0.0  # without a watchdog it does not act
    assert actor.remappings["__node"] == "sac_actor_left"
    assert started(program, "sac_actor/watchdog").parameters["actor_id"] == "sac_actor_left"
    assert started(program, "sac_actor/robot_reset").parameters["task"] == "pick_cube"
    recording = started(program, "sac_demos/recorder")
    assert recording.parameters["save_path"] == str(tmp_path / "demos")
    assert received(program)["robot_ip"] == "172.16.0.2"
    if demonstrator == "teleop":
        person = started(program, "sac_demos/teleop_keyboard")
        said = {"actor": "sac_actor_left", "operator_name": "Ada"}
        assert {name: person.parameters[name] for name in said} == said
    happened = order(program)
    assert happened.index("sac_actor/robot_setup") < happened.index("sac_actor/actor")
    for name in ("recorder", "watchdog", "actor", "robot_reset"):
        package = "sac_demos" if name == "recorder" else "sac_actor"
        assert started(program, f"{package}/{name}").remappings["__ns"] == "/left"
    assert "franka_sim_bridge" not in program.output
    assert program.interrupt() == 0


def test_demonstrations_on_the_robot_need_its_address(start: Start, robot_pc: StandIns) -> None:
    assert "robot_ip: which robot?" in refused(record(start, "sim:=false"))


def test_a_person_may_help_a_training_on_the_robot(start: Start, robot_pc: StandIns) -> None:
    program = train(start, "teleop:=keyboard", "operator_name:=Ada", "demos:=true")
    person = started(program, "sac_demos/teleop_keyboard").parameters
    assert (person["actor"], person["operator_name"]) == ("sac_actor", "Ada")
    acting = started(program, "sac_actor/actor").parameters
    with_demonstrations = settings("pick_cube/actor_demos")
    assert {name: acting[name] for name in with_demonstrations} == with_demonstrations
    assert program.interrupt() == 0


@pytest.mark.parametrize("file", ["franka_train", "deploy", "record_demos"])
def test_without_franka_ros2_there_is_one_clear_line(file: str, start: Start) -> None:
    program = start(
        "ros2", "launch", "sac_bringup", f"{file}.launch.py", "task:=reach", "checkpoint:=x",
        "robot_ip:=172.16.0.2",
    )  # fmt: skip
    assert refused(program).endswith(
        "franka_bringup of franka_ros2 is not installed: this is for the robot's PC "
        "(docs/real_robot.md); in simulation: sim_train.launch.py"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["robot_type:=fer"],
            "robot_type:=fer: franka_ros2 for Jazzy drives no Panda, only an FR3",
        ),
        (["command:=telepathy"], "command: expected one of cartesian_impedance, joint_trajectory"),
        (
            ["use_fake_hardware:=perhaps"],
            "use_fake_hardware: expected true or false, got 'perhaps'",
        ),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: list[str], reason: str, start: Start, robot_pc: StandIns
) -> None:
    assert reason in refused(train(start, *arguments))


def test_without_an_address_it_asks_for_one(start: Start, robot_pc: StandIns) -> None:
    program = start("ros2", "launch", "sac_bringup", "franka_train.launch.py", "task:=reach")
    assert "robot_ip: which robot? Give its address, as in Desk: robot_ip:=172" in refused(program)


def test_an_old_franka_ros2_is_refused_with_both_versions(start: Start, robot_pc: StandIns) -> None:
    version(robot_pc.package("franka_bringup"), "3.1.0")
    assert "franka_bringup is 3.1.0: expected 3.4.0 or newer" in refused(train(start))


def test_a_controller_that_is_not_installed_is_named_with_one_that_is(
    start: Start, robot_pc: StandIns
) -> None:
    index = robot_pc.prefix / "share" / "ament_index" / "resource_index" / "packages"
    (index / "crisp_controllers").unlink()
    assert refused(train(start)).endswith(
        "command:=cartesian_impedance needs crisp_controllers, which is not installed: build it "
        "from source (docs/real_robot.md), or give command:=joint_trajectory"
    )
    (index / "joint_trajectory_controller").unlink()
    assert refused(train(start, "command:=joint_trajectory")).endswith(
        "needs joint_trajectory_controller, which is not installed: apt-get install "
        "ros-jazzy-joint-trajectory-controller, or give command:=joint_velocity"
    )
    assert refused(train(start, "command:=joint_velocity")).endswith(
        "robot_reset needs joint_trajectory_controller to drive the arm to its start, and it is "
        "not installed: apt-get install ros-jazzy-joint-trajectory-controller"
    )


# A robot's PC on which everything is real but the robot: franka_ros2's launch file starts the
# simulated one, and the spawner leaves its controller inactive.
SIMULATED = f"""
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, Shutdown
from launch_ros.actions import Node

def generate_launch_description():
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=value, description=name)
          for name, value in {ARGUMENTS!r}.items()),
        Node(package="franka_sim_bridge", executable="franka_sim_bridge", output="screen",
             parameters=[{{"task": "reach"}}],
             remappings=[("reset_episode", "sim/reset_episode")], on_exit=Shutdown()),
    ])
"""
SPAWNER = """\
#!{python}
import sys
import rclpy
from controller_manager_msgs.srv import SwitchController
own = sys.argv[1:sys.argv.index("--inactive")]
rclpy.init()
node = rclpy.create_node("spawner")
client = node.create_client(SwitchController, "controller_manager/switch_controller")
assert client.wait_for_service(timeout_sec=30.0)
request = SwitchController.Request(deactivate_controllers=own, strictness=1)
answer = client.call_async(request)
rclpy.spin_until_future_complete(node, answer, timeout_sec=30.0)
sys.exit(not answer.result().ok)
"""


@pytest.fixture
def simulated_pc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    packages = StandIns(tmp_path / "prefix", monkeypatch)
    packages.launch_file("franka_bringup", "franka.launch.py", SIMULATED)
    version(packages.package("franka_bringup"), "3.4.0")
    for name in ("crisp_controllers", "joint_trajectory_controller"):
        packages.package(name)
    packages.program("controller_manager", "spawner")
    spawner = packages.prefix / "lib" / "controller_manager" / "spawner"
    spawner.write_text(SPAWNER.format(python=sys.executable))
    return packages


def test_the_robots_pc_trains_and_its_watchdog_watches(
    start: Start, simulated_pc: StandIns, tmp_path: Path, observer: Node
) -> None:
    limits = tmp_path / "watchdog.yaml"
    # The simulated robot counts its own time, which is no clock to measure a delay with, and its
    # controller is active until the spawner comes. A loaded machine keeps the other limits.
    own = settings("watchdog") | {"max_state_latency": 0.0, "first_command_timeout": 60.0}
    own |= {"state_timeout": 10.0, "command_timeout": 10.0, "actor_timeout": 60.0}
    limits.write_text(yaml.safe_dump({"/**": {"ros__parameters": own}}))
    statuses: list[ActorStatus] = []
    watched: list[WatchdogStatus] = []
    observer.create_subscription(ActorStatus, "/sac/actor/status", statuses.append, qos.STATUS)
    observer.create_subscription(WatchdogStatus, "/watchdog/status", watched.append, qos.STATUS)
    program = start(
        "ros2", "launch", "sac_bringup", "franka_train.launch.py", "task:=reach",
        "robot_ip:=172.16.0.2", f"watchdog_params_file:={limits}", "eval_period:=0",
    )  # fmt: skip

    def goes_well() -> bool:
        acts = bool(statuses) and statuses[-1].steps > 20 and not statuses[-1].fault
        return acts and bool(watched) and watched[-1].state == "watching"

    try:
        spin_until(observer, goes_well, 90.0, "it acts and is watched")
    except AssertionError as error:
        pytest.fail(f"{error}\n{program.output}")
    assert watched[-1].trips == 0
    stop = call(observer, Trigger, "/sac_watchdog/stop", Trigger.Request())
    assert stop.success  # type: ignore[attr-defined]
    spin_until(observer, lambda: "watchdog" in statuses[-1].fault, 60.0, "the actor says why")
    steps = statuses[-1].steps
    program.wait_for("No motion controller is active")
    assert program.interrupt() == 0
    assert statuses[-1].steps <= steps + 1
