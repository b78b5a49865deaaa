"""Lifecycle, checkpoint services and live parameters of running nodes."""

from __future__ import annotations

from pathlib import Path

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.node import Node
from system import LOG, Program, Start, call, gym_train, spin_until

from sac_core.checkpoint import load_checkpoint
from sac_core.replay_file import read_replay_file
from sac_msgs.msg import ActorStatus, LearnerStatus
from sac_msgs.srv import LoadCheckpoint, SaveCheckpoint
from sac_ros import qos


def change_state(node: Node, name: str, transition: int) -> None:
    request = ChangeState.Request(transition=Transition(id=transition))
    assert call(node, ChangeState, f"/{name}/change_state", request).success


def state_of(node: Node, name: str) -> int:
    return call(node, GetState, f"/{name}/get_state", GetState.Request()).current_state.id


def small_run(start: Start, *arguments: str) -> Program:
    return gym_train(start, "env_id:=Pendulum-v1", "run_name:=run", "step_rate:=200.0", *arguments)


def test_a_checkpoint_is_saved_and_loaded_through_services(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    program = small_run(start)
    program.wait_for(rf"{LOG}step \d+")
    saved = call(observer, SaveCheckpoint, "/sac_learner/save_checkpoint", SaveCheckpoint.Request())
    assert saved.success, saved.message
    assert (tmp_path / saved.path / "policy.safetensors").exists()
    request = LoadCheckpoint.Request(path=str(tmp_path / saved.path))
    loaded = call(observer, LoadCheckpoint, "/sac_learner/load_checkpoint", request)
    assert loaded.success, loaded.message
    assert f"learner step {loaded.step}" in saved.message
    request = LoadCheckpoint.Request(path=str(tmp_path / "nowhere"))
    refused = call(observer, LoadCheckpoint, "/sac_learner/load_checkpoint", request)
    assert not refused.success
    assert "nowhere" in refused.message
    assert program.interrupt() == 0

    again = gym_train(start, "env_id:=Pendulum-v1", "run_name:=again", f"checkpoint:={saved.path}")
    again.wait_for(rf"Begins from .*{saved.path}, learner step {loaded.step}")
    assert again.interrupt() == 0


def test_deactivate_pauses_and_activate_resumes(start: Start, observer: Node) -> None:
    actors: list[ActorStatus] = []
    learners: list[LearnerStatus] = []
    observer.create_subscription(ActorStatus, "sac/actor/status", actors.append, qos.STATUS)
    observer.create_subscription(LearnerStatus, "sac/learner/status", learners.append, qos.STATUS)
    program = small_run(start)
    program.wait_for(rf"{LOG}Sent initial policy")

    change_state(observer, "sac_actor_0", Transition.TRANSITION_DEACTIVATE)
    assert state_of(observer, "sac_actor_0") == State.PRIMARY_STATE_INACTIVE
    spin_until(observer, lambda: actors[-1].state == "paused", 60.0, "paused actor")
    steps, seen = actors[-1].steps, len(actors)
    spin_until(observer, lambda: len(actors) >= seen + 2, 60.0, "two more statuses")
    assert actors[-1].steps == steps
    change_state(observer, "sac_actor_0", Transition.TRANSITION_ACTIVATE)
    spin_until(observer, lambda: actors[-1].steps > steps, 60.0, "acting again")

    change_state(observer, "sac_learner", Transition.TRANSITION_DEACTIVATE)
    spin_until(observer, lambda: learners[-1].state == "paused", 60.0, "paused learner")
    step, transitions = learners[-1].step, learners[-1].transitions
    spin_until(observer, lambda: learners[-1].transitions > transitions, 60.0, "it keeps receiving")
    assert learners[-1].step == step
    change_state(observer, "sac_learner", Transition.TRANSITION_ACTIVATE)
    spin_until(observer, lambda: learners[-1].step > step, 60.0, "training again")
    assert program.interrupt() == 0


def test_a_cleaned_up_node_can_be_configured_again_and_keeps_what_it_accepted(
    start: Start, observer: Node
) -> None:
    learners: list[LearnerStatus] = []
    actors: list[ActorStatus] = []
    observer.create_subscription(LearnerStatus, "sac/learner/status", learners.append, qos.STATUS)
    observer.create_subscription(ActorStatus, "sac/actor/status", actors.append, qos.STATUS)
    program = small_run(start)
    program.wait_for(rf"{LOG}Sent initial policy")
    spin_until(observer, lambda: bool(learners) and learners[-1].step > 0, 60.0, "training")
    for name in ("sac_learner", "sac_actor_0"):
        change_state(observer, name, Transition.TRANSITION_DEACTIVATE)
        change_state(observer, name, Transition.TRANSITION_CLEANUP)
        assert state_of(observer, name) == State.PRIMARY_STATE_UNCONFIGURED
    before = learners[-1]
    for name in ("sac_learner", "sac_actor_0"):
        change_state(observer, name, Transition.TRANSITION_CONFIGURE)
        change_state(observer, name, Transition.TRANSITION_ACTIVATE)
    spin_until(observer, lambda: learners[-1].step > before.step, 60.0, "training again")
    spin_until(
        observer, lambda: learners[-1].transitions > before.transitions, 30.0, "new transitions"
    )
    assert learners[-1].replay_size >= before.replay_size
    assert program.interrupt() == 0


def test_shutdown_ends_the_processes_and_leaves_every_file_whole(
    start: Start, observer: Node, tmp_path: Path
) -> None:
    learners: list[LearnerStatus] = []
    observer.create_subscription(LearnerStatus, "sac/learner/status", learners.append, qos.STATUS)
    program = small_run(start)
    spin_until(observer, lambda: bool(learners) and learners[-1].step > 5, 180.0, "training")
    change_state(observer, "sac_actor_0", Transition.TRANSITION_ACTIVE_SHUTDOWN)
    made = program.wait_for(r"Stopped after (\d+) steps and \d+ episodes$")
    assert program.wait() == 0  # the launch ends with its actor
    run = tmp_path / "runs" / "run"
    contents = read_replay_file(run / "replay.bin")
    assert contents.inserted == len(contents.rows) == int(made[1])
    assert load_checkpoint(run).metadata["step"] > 5
    assert [path for path in run.rglob(".*") if path.name != ".lock"] == []


def test_without_autostart_nodes_wait_to_be_configured(start: Start, observer: Node) -> None:
    program = small_run(start, "autostart:=false")
    for name in ("sac_learner", "sac_actor_0"):
        assert state_of(observer, name) == State.PRIMARY_STATE_UNCONFIGURED
        change_state(observer, name, Transition.TRANSITION_CONFIGURE)
        change_state(observer, name, Transition.TRANSITION_ACTIVATE)
    program.wait_for(rf"{LOG}Sent initial policy")
    assert program.interrupt() == 0


def test_parameters_are_described_checked_and_live_where_they_say_so(
    start: Start, observer: Node
) -> None:
    program = small_run(start)
    program.wait_for(r"A learner listens")
    names = ["step_rate", "env_id"]
    described = call(
        observer, DescribeParameters, "/sac_actor_0/describe_parameters",
        DescribeParameters.Request(names=names),
    ).descriptors  # fmt: skip
    assert all(descriptor.description for descriptor in described)
    assert [descriptor.read_only for descriptor in described] == [False, True]
    assert described[0].floating_point_range[0].from_value == 0.0

    def set_rate(value: float) -> bool:
        double = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParameters.Request(parameters=[Parameter(name="step_rate", value=double)])
        return (
            call(observer, SetParameters, "/sac_actor_0/set_parameters", request)
            .results[0]
            .successful
        )

    assert not set_rate(-1.0)
    statuses: list[ActorStatus] = []
    observer.create_subscription(ActorStatus, "sac/actor/status", statuses.append, qos.STATUS)
    assert set_rate(20.0)
    spin_until(
        observer,
        lambda: bool(statuses) and 15.0 < statuses[-1].steps_per_second < 25.0,
        30.0,
        "the new rate",
    )
    assert program.interrupt() == 0


def test_qos_can_be_overridden_by_parameters(start: Start, observer: Node) -> None:
    start(
        "ros2", "run", "sac_learner", "learner", "--ros-args", "-p",
        "qos_overrides./sac/transitions.subscription.depth:=7", "-p",
        "qos_overrides./sac/transitions.subscription.reliability:=best_effort",
    )  # fmt: skip
    spin_until(
        observer, lambda: observer.count_subscribers("/sac/transitions") == 1, 30.0, "the learner"
    )
    info = observer.get_subscriptions_info_by_topic("/sac/transitions")[0]
    assert info.qos_profile.reliability.name == "BEST_EFFORT"
