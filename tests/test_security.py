"""SROS 2: who may say what, and that nothing starts less secured than it was asked to."""

from __future__ import annotations

import itertools
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rclpy.node import Node, NodeNameNonExistentError
from system import ROOT, Program, Start, call, spin_until

from launch import LaunchContext
from sac_bringup import security
from sac_msgs.srv import SaveCheckpoint

POLICIES = ROOT / "config" / "security"
PROGRAMS = (
    "actor",
    "deploy",
    "evaluate",
    "learner",
    "monitor",
    "recorder",
    "render",
    "robot",
    "robot_reset",
    "robot_setup",
    "teleop",
    "watchdog",
)
NAMES = sorted(path.name.removesuffix(".policy.xml") for path in POLICIES.glob("*.policy.xml"))
INCLUDE = "{http://www.w3.org/2001/XInclude}include"

# sros2/policy/schemas/policy.xsd: what each element holds, and its attributes, those in capitals
# required. A list of expressions says ALLOW or DENY at least once, or it says nothing.
CHILDREN = {
    "policy": {"enclaves"},
    "enclaves": {"enclave"},
    "enclave": {"profiles"},
    "profiles": {"profile"},
    "profile": {"topics", "services", "actions"},
    "topics": {"topic"},
    "services": {"service"},
    "actions": {"action"},
}
ATTRIBUTES = {
    "policy": {"version"},
    "enclave": {"path"},
    "profile": {"ns", "node"},
    "topics": {"publish", "subscribe"},
    "services": {"reply", "request"},
    "actions": {"call", "execute"},
}
REQUIRED = {"policy", "enclave", "profile"}  # whose attributes are not optional

ACTION_SERVICES = ("send_goal", "cancel_goal", "get_result")
ACTION_TOPICS = ("feedback", "status")
SHARED_TOPICS = ("sac/transitions", "sac/transitions_ack", "sac/policy", "sac/actor/status")
SEVERAL = "/robot_*"  # namespaces of several robots
# What a policy allows and no node of the tests does: on demand, or by a person's tools only.
NOT_SEEN = {
    ("subscribe", "/clock"),  # with use_sim_time
    ("subscribe", "/parameter_events"),
    ("publish", "*/camera/image_raw"),  # with camera_rate
    ("request", "*/_action/cancel_goal"),  # part of calling an action
    ("request", "*/_action/get_result"),
    ("subscribe", "*/robot_state"),  # for a moment of a recovery
    ("subscribe", "*/_action/feedback"),
    ("subscribe", "*/_action/status"),
    ("*", "/analyzers/*"),  # the node of diagnostic_aggregator, which is not installed here
    ("publish", "/diagnostics_*"),
    ("subscribe", "/diagnostics"),
    ("reply", "*/franka_gripper/*parameter*"),  # the robot's has them, the simulated one has not
}


def load(path: Path) -> ElementTree.Element:
    """A policy file with what it includes, as `ros2 security` reads it (XInclude)."""
    root = ElementTree.parse(path).getroot()
    for parent in list(root.iter()):
        for place, item in reversed(list(enumerate(parent))):
            if item.tag == INCLUDE:
                assert item.get("xpointer") == "xpointer(/profile/*)"
                parent.remove(item)
                for child in reversed(list(load(path.parent / item.attrib["href"]))):
                    parent.insert(place, child)
    return root


def rules(name: str) -> set[tuple[str, str]]:
    """What an enclave may do: (publish, subscribe, reply or request; pattern of absolute names).

    Names and actions are expanded as sros2/policy/templates/dds/permissions.xsl does it.
    """
    found = set()
    for profile in load(POLICIES / f"{name}.policy.xml").iter("profile"):
        namespace = profile.attrib["ns"].rstrip("/")
        for group in profile:
            verbs = [verb for verb, qualifier in group.items() if qualifier == "ALLOW"]
            for verb, item in itertools.product(verbs, group):
                text = item.text or ""
                if text.startswith("~"):
                    text = f"{namespace}/{profile.attrib['node']}{text[1:]}"
                elif not text.startswith("/"):
                    text = f"{namespace}/{text}"
                if group.tag != "actions":
                    found.add((verb, text))
                    continue
                service, topic = {
                    "call": ("request", "subscribe"),
                    "execute": ("reply", "publish"),
                }[verb]
                found |= {(service, f"{text}/_action/{part}") for part in ACTION_SERVICES}
                found |= {(topic, f"{text}/_action/{part}") for part in ACTION_TOPICS}
    return found


RULES = {f"/sac/{name}": rules(name) for name in NAMES}


def allowed(enclave: str, verb: str, name: str) -> bool:
    """As an RMW decides: any pattern matches, and a star stands for slashes too."""
    return any(kind == verb and fnmatchcase(name, pattern) for kind, pattern in RULES[enclave])


def who_may(verb: str, name: str) -> set[str]:
    return {enclave for enclave in RULES if allowed(enclave, verb, name)}


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_has_the_structure_that_ros2_security_demands(name: str) -> None:
    root = load(POLICIES / f"{name}.policy.xml")
    assert root.tag == "policy"
    assert root.get("version") == "0.2.0"
    for item in root.iter():
        assert set(item.keys()) <= ATTRIBUTES.get(item.tag, set())
        if item.tag in REQUIRED:
            assert set(item.keys()) == ATTRIBUTES[item.tag]
        if item.tag in ("topics", "services", "actions"):
            assert item.keys()
            assert set(item.attrib.values()) <= {"ALLOW", "DENY"}
        if item.tag in CHILDREN:
            assert len(item)
            assert {child.tag for child in item} <= CHILDREN[item.tag]
            assert not (item.text or "").strip()
        else:
            assert item.tag in ("topic", "service", "action")
            assert not len(item)
            assert re.fullmatch(r"(~?/)?[\w*]+(/[\w*]+)*|/\*", item.text or "")
    # One enclave a file, of the file's name: `ros2 security` gets them one by one.
    assert [enclave.get("path") for enclave in root.iter("enclave")] == [f"/sac/{name}"]


def test_only_learners_send_weights_and_only_actors_send_transitions() -> None:
    for topic in ("/sac/policy", "/sac/transitions_ack", "/sac/learner/status"):
        assert who_may("publish", topic) == {"/sac/learner"}
    assert who_may("publish", "/sac/transitions") == {"/sac/actor"}
    assert who_may("publish", "/sac/actor/status") == {"/sac/actor", "/sac/deploy"}
    watching = {"/sac/recorder", "/sac/rviz", "/sac/operator"}
    assert who_may("subscribe", "/sac/policy") == {"/sac/actor", *watching}


@pytest.mark.parametrize("robot", ["", "/robot_0"])
def test_only_teleoperations_ask_actors_for_actions_and_only_they_and_operators_mark(
    robot: str,
) -> None:
    assert who_may("publish", f"{robot}/sac/teleop_action") == {"/sac/teleop"}
    mark = f"{robot}/sac_actor_0/mark_episode"
    assert who_may("request", mark) == {"/sac/teleop", "/sac/operator"}
    assert "/sac/teleop" not in who_may("publish", f"{robot}/target_pose")


@pytest.mark.parametrize("robot", ["", "/robot_0", "/robot_11"])
def test_only_robots_say_where_they_are_and_only_who_acts_commands_them(robot: str) -> None:
    for state in ("franka/joint_states", "franka_robot_state_broadcaster/current_pose", "tf"):
        assert who_may("publish", f"{robot}/{state}") == {"/sac/robot"}
    acting = {"/sac/actor", "/sac/deploy"} | (set() if robot else {"/sac/evaluate"})
    for command in ("target_pose", "joint_velocity_controller/commands"):
        assert who_may("publish", f"{robot}/{command}") == acting
    switch = f"{robot}/controller_manager/switch_controller"
    assert who_may("request", switch) == {
        *acting, "/sac/robot_reset", "/sac/watchdog", "/sac/operator"
    }  # fmt: skip
    assert who_may("publish", f"{robot}/watchdog/status") == {"/sac/watchdog"}
    assert who_may("publish", f"{robot}/controller_manager/activity") == {"/sac/robot"}


def test_who_watches_sees_everything_and_only_operators_call_services() -> None:
    for topic in ("/sac/transitions", "/robot_3/camera/image_raw"):
        assert {"/sac/recorder", "/sac/rviz", "/sac/operator"} <= who_may("subscribe", topic)
    for service in ("/sac_learner/set_parameters", "/robot_0/sac_actor_0/change_state"):
        assert who_may("request", service) == {"/sac/operator"}
    own = {"/rosout", "/parameter_events"}
    for enclave in ("/sac/recorder", "/sac/rviz", "/sac/operator", "/sac/render"):
        published = {name for verb, name in RULES[enclave] if verb == "publish"} - own
        assert {name for name in published if not name.endswith("/transition_event")} <= {
            "/diagnostics",
            "/*/answer",
        }


def uses(reader: Node) -> dict[str, set[tuple[str, str]]]:
    """What the nodes of each enclave do now, as the graph says."""
    questions = {
        "publish": reader.get_publisher_names_and_types_by_node,
        "subscribe": reader.get_subscriber_names_and_types_by_node,
        "reply": reader.get_service_names_and_types_by_node,
        "request": reader.get_client_names_and_types_by_node,
    }
    found: dict[str, set[tuple[str, str]]] = {}
    for node, namespace, enclave in reader.get_node_names_and_namespaces_with_enclaves():
        for verb, ask in questions.items():
            try:
                names = {(verb, name) for name, _types in ask(node, namespace)}
            except NodeNameNonExistentError:  # it has just ended
                continue
            found.setdefault(enclave, set()).update(names)
    return found


def done_by_some(verb: str, pattern: str, done: set[tuple[str, str]]) -> bool:
    return any(
        kind == verb and (fnmatchcase(name, pattern) or fnmatchcase(name, SEVERAL + pattern))
        for kind, name in done
    )


def in_enclave(
    start: Start, name: str, executable: str, *arguments: str, package: str = "sac_actor"
) -> Program:
    command = ["ros2", "run", package, executable, "--ros-args", "--enclave", f"/sac/{name}"]
    return start(*command, *(word for argument in arguments for word in argument.split()))


def test_nodes_do_what_their_enclave_may_and_policies_allow_no_more(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    training = start(
        "ros2", "launch", "sac_bringup", "sim_train.launch.py", "task:=pick_cube", "num_actors:=2",
        "run_name:=run", "video:=false",
    )  # fmt: skip
    shared = [f"-r {topic}:=/{topic}" for topic in SHARED_TOPICS]
    for robot, command in enumerate(("joint_trajectory", "joint_velocity"), start=2):
        place = f"-r __ns:=/robot_{robot}"
        options = ["-p task:=pick_cube", f"-p command:={command}", "-p max_force:=1000.0"]
        in_enclave(start, "actor", "actor", place, *options, *shared)
        in_enclave(start, "robot_reset", "robot_reset", place, "-p task:=reach")
        in_enclave(start, "watchdog", "watchdog", place, f"-p command:={command}")
        folder = f"-p save_path:={tmp_path}/demos_{robot}"
        in_enclave(start, "recorder", "recorder", place, folder, package="sac_demos")
        status = "-r sac/actor/status:=/sac/actor/status"
        in_enclave(start, "teleop", "teleop_joy", place, status, package="sac_demos")
    training.wait_for("Sent initial policy to actors", timeout=120.0)
    saved = call(observer, SaveCheckpoint, "/sac_learner/save_checkpoint", SaveCheckpoint.Request())
    assert saved.success  # type: ignore[attr-defined]
    start(
        "ros2", "launch", "sac_bringup", "evaluate.launch.py", "task:=pick_cube",
        "episodes:=100000", f"checkpoint:={tmp_path}/runs/run",
    )  # fmt: skip
    in_enclave(
        start, "deploy", "actor", "-r __ns:=/robot_4", "-p task:=pick_cube", "-p max_force:=1000.0",
        f"-p checkpoint:={tmp_path}/runs/run",
    )  # fmt: skip
    in_enclave(start, "robot_setup", "robot_setup", "-r __ns:=/robot_9")
    in_enclave(start, "monitor", "status")
    in_enclave(start, "monitor", "status_markers")
    in_enclave(
        start, "render", "render", f"-p checkpoint:={tmp_path}/runs/run", "-p autostart:=false"
    )

    seen: dict[str, set[tuple[str, str]]] = {}

    def not_seen() -> set[tuple[str, str]]:
        """What a policy allows, in some namespace, and no node has been seen to do."""
        for enclave, used in uses(observer).items():
            seen.setdefault(enclave, set()).update(used)
        done = set().union(*(used for enclave, used in seen.items() if enclave in RULES))
        return {
            (verb, pattern)
            for verb, pattern in set().union(*(RULES[f"/sac/{name}"] for name in PROGRAMS))
            if not done_by_some(verb, pattern.removeprefix(SEVERAL), done)
            and not any(
                fnmatchcase(verb, kind) and fnmatchcase(pattern, exempt)
                for kind, exempt in NOT_SEEN
            )
        }

    try:
        spin_until(observer, lambda: not not_seen(), 180.0, "all that is allowed is done")
    except AssertionError as error:
        pytest.fail(f"{error}, but {sorted(not_seen())}")
    forbidden = {
        (enclave, verb, name)
        for enclave, used in seen.items()
        for verb, name in used
        if enclave in RULES and not allowed(enclave, verb, name)
    }
    assert not forbidden


def refusal(program: Program) -> str:
    """The one line of a launch that starts nothing and fails."""
    assert program.wait() == 1
    assert "process started" not in program.output
    assert "Traceback" not in program.output
    (line,) = [line for line in program.lines if "[ERROR]" in line]
    return line


def keystore(folder: Path, permissions: dict[str, str]) -> Path:
    """Something like a keystore, with permissions that nobody signed."""
    for name, text in permissions.items():
        path = folder / "enclaves" / "sac" / name / security.PERMISSIONS
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return folder


LIMITED = "<id>{domain}</id><publish><topics><topic>rt/sac/policy</topic></topics></publish>"
UNLIMITED = (  # of `ros2 security create_enclave`
    "<id>{domain}</id><publish>\n  <topics>\n    <topic>rq/*Request</topic>\n"
    "    <topic>rt/*</topic>\n  </topics>\n</publish>"
)


@pytest.mark.parametrize(
    "file", ["sim_train", "gym_train", "train", "learner", "evaluate", "deploy", "monitor"]
)
def test_without_keys_nothing_starts(file: str, start: Start) -> None:
    program = start(
        "ros2", "launch", "sac_bringup", f"{file}.launch.py", "security:=true", "checkpoint:=x",
        "task:=reach", "sim:=true",
    )  # fmt: skip
    line = refusal(program)
    assert "security:=true needs keystore:=<folder>; to make one: for policy in " in line
    assert "config/security/*.policy.xml; do ros2 security generate_artifacts -k <folder>" in line


@pytest.mark.parametrize(
    ("permissions", "reason"),
    [
        ({}, r"keys is no keystore; to make one: "),
        (
            {"actor": LIMITED},
            r"keys has no /sac/learner; to add what is missing: "
            r"ros2 security generate_artifacts -k \S+ -p \S+/learner.policy.xml$",
        ),
        (
            {"learner": UNLIMITED, "actor": UNLIMITED},
            r"nothing limits /sac/learner, /sac/actor; to apply the policies: "
            r"for policy in \S+/learner.policy.xml \S+/actor.policy.xml; do ros2 security ",
        ),
        (
            {"learner": LIMITED.replace("{domain}", "207"), "actor": "<id>207</id>"},
            r"keys is for ROS_DOMAIN_ID 207, and this is \d+; to make one for \d+: for policy in ",
        ),
        # The real thing: a node with such keys, which no RMW lets start.
        ({"learner": LIMITED, "actor": LIMITED}, r"/sac/learner cannot have a node: \S+"),
    ],
)
def test_a_keystore_that_does_not_do_is_refused_with_what_is_wrong_and_what_to_do(
    permissions: dict[str, str], reason: str, start: Start, tmp_path: Path
) -> None:
    domain = os.environ["ROS_DOMAIN_ID"]
    folder = keystore(
        tmp_path / "keys",
        {name: text.replace("{domain}", domain) for name, text in permissions.items()},
    )
    program = start(
        "ros2", "launch", "sac_bringup", "gym_train.launch.py", "security:=true",
        f"keystore:={folder}",
    )  # fmt: skip
    assert re.search(reason, refusal(program))


@pytest.mark.parametrize(
    ("environment", "arguments", "reason"),
    [
        ({}, ["security:=yes"], "security: expected true or false, got 'yes'"),
        # Who exports this wants no open nodes, whatever a launch file's default is.
        ({"ROS_SECURITY_ENABLE": "true"}, [], "security:=true needs keystore"),
        (
            {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_KEYSTORE": "/nowhere"},
            [],
            "/nowhere is no keystore",
        ),
        ({"ROS_SECURITY_ENABLE": "true"}, ["security:=false"], "leave security:=false out"),
        (
            {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/sac/learner"},
            ["security:=true"],
            "ROS_SECURITY_ENCLAVE_OVERRIDE=/sac/learner takes every node out of its own enclave",
        ),
    ],
)
def test_an_environment_that_says_something_else_is_refused(
    environment: dict[str, str],
    arguments: list[str],
    reason: str,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = start("ros2", "launch", "sac_bringup", "gym_train.launch.py", *arguments)
    assert reason in refusal(program)


@pytest.fixture
def secured(tmp_path: Path) -> LaunchContext:
    """A launch with security:=true and a keystore that looks right."""
    context = LaunchContext()
    folder = keystore(tmp_path / "keys", {"learner": LIMITED.replace("<id>{domain}</id>", "")})
    context.launch_configurations.update(security="true", keystore=str(folder))
    return context


def test_nodes_that_follow_are_told_to_enforce(
    secured: LaunchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middleware's answers are made up here: the wheels' has no security."""
    monkeypatch.setattr(security, "_refusal_of_forged_keys", lambda: "forged keys")
    monkeypatch.setattr(security, "_refusal", lambda _keystore, _name: "")
    told = {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": f"{tmp_path}/keys",
    }
    for name in told:
        monkeypatch.delenv(name, raising=False)
    for action in security.enforced(secured, "learner"):
        action.visit(secured)
    assert {name: os.environ.pop(name) for name in told} == told


def test_a_middleware_that_takes_any_keys_is_refused(
    secured: LaunchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "_refusal_of_forged_keys", lambda: "")
    monkeypatch.setattr(security, "_refusal", lambda _keystore, _name: "")
    with pytest.raises(RuntimeError, match="a node with forged keys start: it has no security"):
        security.enforced(secured, "learner")
