"""A task on a Franka behind its ROS topics: the same for the robot and for its simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node

from sac_actor.activity import motion_controller
from sac_actor.calls import Caller, CallFailed
from sac_actor.commands import ADAPTERS, Target
from sac_actor.control import HELD, IN_ERROR, Control
from sac_actor.environment import (
    Clips,
    EpisodeCut,
    Float32,
    Health,
    Interrupted,
    NoStart,
    Step,
)
from sac_actor.gripper import GripperClient
from sac_actor.markers import EpisodeMarkers
from sac_actor.parameters import RobotParameters
from sac_actor.recovery import Recovery
from sac_actor.robot_state import RobotTopics
from sac_actor.safety import SafetyFilter, Workspace
from sac_actor.specification import task_specification
from sac_actor.stream import Stream
from sac_actor.wrench import ExternalWrench
from sac_envs.robots import ROBOTS, Float64
from sac_envs.task import Gripping, RobotState
from sac_envs.tasks import make_task
from sac_msgs.srv import ResetEpisode
from sac_ros import qos
from sac_ros.codecs import printable
from sac_ros.node import side_node
from sac_ros.parameters import UserError
from sac_ros.robot_input import Joints, nanoseconds

MOMENT = 0.3  # s for which a motion controller may be left without commands
SERVER = 5.0  # s to wait for whoever begins episodes
ARRIVED = 0.5  # s until the motion controller has what it is told before it becomes active
FAULTLESS = 5.0  # s without a fault after which an episode counts that a person has ended
LOSSES = {ResetEpisode.Response.PERSON: HELD, ResetEpisode.Response.ROBOT: IN_ERROR}
MOVING = 0.005  # m between target and tool from which on the robot should be moving


class FrankaEnvironment:
    """A `Task` on the robot's topics. `step` sends a command and returns at the next tick.

    A tick is due when the joint state's stamp reaches the last tick's plus one control period: at
    1 kHz on the robot as in lockstep simulation. Topics are taken in on a node of its own,
    `<node>_robot`, by the thread that calls `reset` and `step`.
    """

    paces_itself = True

    def __init__(
        self,
        node: Node,
        parameters: RobotParameters,
        go_on: Callable[[], bool],
        judged_by_person: bool = False,
    ) -> None:
        p = parameters
        try:
            self.task = make_task(p.task)
        except ValueError as error:
            raise UserError(str(error)) from error
        if p.max_episode_steps > 0:
            self.task.max_episode_steps = p.max_episode_steps
        self._judged_by_person = judged_by_person
        self.name = self.task.name
        self.observation_size = self.task.observation_size
        self.action_size = self.task.action_size
        self.specification = task_specification(self.task, p.robot_type)
        self._go_on = go_on
        robot = ROBOTS[p.robot_type].prefixed(p.arm_prefix)
        self._period = round(1e9 / self.task.control_rate)  # ns
        self.safety = SafetyFilter(
            robot,
            Workspace.of(self.task, p.workspace_low, p.workspace_high),
            max_distance=self.task.action_scale,
            period=self._period / 1e9,
            speed=p.speed_share,
            max_force=p.max_force,
            max_torque=p.max_torque,
        )
        self._robot_node = side_node(node, f"{node.get_name()}_robot")
        self._reset_client = self._robot_node.create_client(ResetEpisode, "reset_episode")
        self._gripper = (
            GripperClient(self._robot_node, self.task.open_width)
            if self.task.uses_gripper
            else None
        )
        # Before the topics: they know the subscriptions that the node has by then.
        self._wrench = (
            ExternalWrench(self._robot_node, p.state_timeout)
            if self.safety.watches_wrench
            else None
        )
        self.control = Control(
            self._robot_node,
            motion_controller(p.command),
            p.arm_prefix,
            p.watchdog_timeout,
            self._joints_heard,
            self._prepare,
        )
        self.recovery = Recovery(
            node, self._robot_node, self.control, p.recovery, p.max_strikes, self._joints_heard
        )
        self.topics = RobotTopics(
            self._robot_node, robot, self.task, p.state_timeout, p.object_max_age
        )
        adapter = ADAPTERS[p.command]
        self._publisher = self._robot_node.create_publisher(
            adapter.message,
            adapter.topic,
            qos.ROBOT_COMMAND,
            qos_overriding_options=qos.OVERRIDABLE,
        )
        self.commands = Stream(
            adapter(
                self._publisher.publish,
                robot,
                self.safety.workspace,
                p.stream_rate,
                p.speed_share,
            ),
            self._period,
            p.stream_rate,
        )
        self.topics.on_time = self.commands.time_passed
        self.control.on_loss = self.commands.silence
        self._gripping = Gripping(self.task.gripper_dwell)
        self._markers = EpisodeMarkers(self._robot_node, self.safety.workspace)
        self._random = np.random.default_rng()
        self._joints: Joints | None = None
        self._reset_timeout = p.reset_timeout
        self._caller = Caller(self.topics.spin, self._check_goes_on)
        self._last_calls = Caller(self.topics.spin, lambda: None)  # also when told to stop
        self.topics.on_check = self.control.check
        self._recovering = False
        self._ended = False  # whether the episode came to its end
        self._cut = False  # whether a fault ended it
        self._state: RobotState
        self._jacobian: Float64
        self._steps = 0
        self._return = 0.0

    def reset(self, seed: int | None = None) -> Float32:
        """Have the episode's start made, and wait for the first state of it."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self.commands.rest()
        lasted = self._steps * self._period / 1e9
        if not self._cut and (self._ended or lasted >= FAULTLESS):
            self.recovery.forgive()
        self._steps, self._return, self._ended = 0, 0.0, False
        try:
            self._begin(int(self._random.integers(2**63)))
        except EpisodeCut as cut:
            self._give_back()
            raise NoStart(str(cut), for_person=cut.for_person) from None
        except Interrupted:
            self._give_back()
            raise
        self._cut = False
        return self.task.observe(self._state)

    def _begin(self, seed: int) -> None:
        """Recover if need be, have the start made, see that all is there, and take control."""
        self.control.leave()
        self._recovering = True
        try:
            self.recovery.make_ready(self._caller)
        finally:
            self._recovering = False
        stamp = self._ask_for_start(seed)
        self._gripping.reset(False, stamp / 1e9)
        self.topics.begin()
        self._take(self._wait(stamp, moving=False, go_on=self._go_on))
        assert self._joints is not None
        self.topics.check_tool_frame(self._joints)
        self.control.take(self._caller)
        self._take(self._wait(stamp, moving=False, go_on=self._go_on))  # by now it is later
        self.safety.begin()
        self.commands.begin(self._state, self._joints)

    def _ask_for_start(self, seed: int) -> int:
        """Call the reset service; the stamp (ns) from which on the episode is there."""
        client = self._reset_client
        if not self._caller.pause(client.service_is_ready, MOMENT):
            self._give_back()  # nobody knows how long this takes
        try:
            self._caller.wait(client.service_is_ready, SERVER, "no service")
        except CallFailed:
            raise EpisodeCut(
                f"no service {self._robot_node.resolve_service_name('reset_episode')}: start "
                "franka_sim_bridge, or sac_actor's robot_reset on the robot"
            ) from None

        def done() -> bool:
            # Whoever was asked may be gone, and with it the robot's time.
            self.topics.check_time()
            self.control.check_watchdog()
            if not client.service_is_ready():
                raise EpisodeCut(f"{client.service_name} went away while it was at work")
            return bool(future.done())

        future = client.call_async(ResetEpisode.Request(task=self.name, seed=seed))
        try:
            self._caller.wait(done, self._reset_timeout, "the episode's start was not reached")
        except CallFailed as error:
            raise EpisodeCut(str(error)) from None
        finally:
            if not future.done():
                client.remove_pending_request(future)
        response = future.result()
        if response is None:
            raise EpisodeCut("no start: service failed")
        if not response.success:
            reason = printable(response.message, 300)
            if response.stopped_by in LOSSES:
                self.control.loss, self.control.lost = LOSSES[response.stopped_by], reason
            raise EpisodeCut(f"no start: {reason}")
        return nanoseconds(response.stamp)

    def _check_goes_on(self) -> None:
        if not self._go_on():
            raise Interrupted
        if self._recovering:  # somebody may stop it meanwhile
            self.control.check_watchdog()

    def _give_back(self) -> None:
        self.commands.silence()  # nothing to a controller that is not ours any more
        error = self.control.give_back(self._last_calls)
        if error:
            self._robot_node.get_logger().error(
                f"{self.control.controller} may be active still: {error}"
            )

    def _prepare(self) -> None:
        """The motion controller becomes active next, and is to stay where the robot is."""
        assert self._joints is not None
        self.commands.prepare(self._state, self._joints)
        if not self._publisher.wait_for_all_acked(Duration(seconds=ARRIVED)):
            raise CallFailed(
                f"{self.commands.topic} was not received within {ARRIVED:g} s: does a process that "
                "subscribes to it hang?"
            )

    def _joints_heard(self) -> float:
        return self.topics.heard

    def _wait(self, due: int, moving: bool, go_on: Callable[[], bool] = lambda: True) -> Joints:
        joints = self.topics.wait(due, moving, go_on)
        if self._wrench is not None:
            self._wrench.wait(joints.stamp, self.topics.spin)
        return joints

    def _take(self, joints: Joints) -> None:
        self._joints = joints
        self._state, self._jacobian = self.topics.input.state(joints, self._gripping.closed)

    def step(self, action: Float32) -> Step:
        """Filter and send what `action` asks for, and wait for the next tick."""
        try:
            return self._act(action)
        except EpisodeCut:
            self._cut = True
            self.hold()
            raise

    def _act(self, action: Float32) -> Step:
        joints, state = self._joints, self._state
        assert joints is not None
        command = self.task.command(state, self.safety.action(action))
        command, displacement = self.safety.filter(
            command,
            state,
            joints.q,
            self._jacobian,
            self._wrench.value if self._wrench else None,
        )
        self.control.listen()
        self.control.check()  # not a word to a robot that has stopped
        if self._gripper is not None and self._gripping.decide(command.close_gripper, state.time):
            if self._gripping.closed:
                self._gripper.close_fingers()
            else:
                self._gripper.open_fingers()
        self.commands.send(Target(command, displacement, joints))
        moving = float(np.abs(command.position - state.tool_position).max()) > MOVING
        try:
            self._take(self._wait(joints.stamp + self._period, moving))
        except EpisodeCut as cut:
            raise EpisodeCut(str(cut), self._last_known(joints), cut.for_person) from None
        self._steps += 1
        step = self._outcome()
        self._return += step.reward
        self._ended = step.terminated or step.truncated
        self._markers.show(
            self._state, command.position, step.reward, self._return, self.safety.latest
        )
        return step

    def _last_known(self, before: Joints) -> Step | None:
        """The step that was cut, if there is a whole state after its action."""
        now = self.topics.input.joints
        if now is None or now.stamp <= before.stamp or not self.topics.input.complete(now):
            return None
        self._take(now)
        return self._outcome()

    def _outcome(self) -> Step:
        state = self._state
        observation = self.task.observe(state)
        at_limit = self._steps >= self.task.max_episode_steps
        if self._judged_by_person:
            return Step(observation, 0.0, terminated=False, truncated=at_limit, success=None)
        success = self.task.success(state)
        return Step(
            observation=observation,
            reward=self.task.reward(state),
            terminated=success,
            truncated=at_limit and not success,
            success=success,
        )

    def hold(self) -> None:
        """Have the arm come to rest where it is, and control go back."""
        if self.control.taken:
            self.commands.hold()
            self.commands.rest()
        self._give_back()

    @property
    def health(self) -> Health:
        """Faults and recoveries so far."""
        return Health(self._recovering, self.recovery.recoveries, self.recovery.strikes)

    @property
    def clips(self) -> Clips:
        """What the safety filter changed so far."""
        return Clips(self.safety.changed, self.safety.clips)

    @property
    def stamp(self) -> int | None:
        """Stamp of the newest joint state, ns."""
        return self._joints.stamp if self._joints is not None else None

    def announce(self, source: int) -> None:
        """Markers say who acts."""
        self._markers.acting = source

    def demonstrator(self, random: np.random.Generator) -> Callable[[], Float32]:
        """The task's, at the robot's state; UserError if the task has none."""
        try:
            demonstrator = self.task.demonstrator(random)
        except ValueError as error:
            raise UserError(str(error)) from error
        return lambda: demonstrator.act(self._state)

    def diagnose(self) -> dict[str, object]:
        """Values for /diagnostics."""
        values: dict[str, object] = {"commands_clipped": self.safety.changed}
        values |= {f"clipped_{reason}": count for reason, count in self.safety.clips.items()}
        values["messages_refused"] = self.topics.input.refused
        if self._gripper is not None:
            values["gripper_goals"] = self._gripper.goals
        values["recovery_step"] = self.recovery.step
        values["recoveries"] = self.recovery.recoveries
        values["strikes"] = self.recovery.strikes
        values["waits_for"] = self.recovery.waits_for or "nobody"
        return values

    def close(self) -> None:
        """Give control and the node back."""
        self.hold()
        self.commands.close()
        self.recovery.close()
        self._robot_node.destroy_node()
