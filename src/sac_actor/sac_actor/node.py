"""The actor node: runs the environment loop, flushes its transitions, evaluates, says how it is."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time

from sac_actor.behaviour import (
    BEHAVIOURS,
    SOURCE_HUMAN,
    SOURCE_POLICY,
    SOURCE_RANDOM,
    SOURCE_SCRIPTED,
    Behaviour,
    Learnt,
    make_behaviour,
)
from sac_actor.delivery import Delivery
from sac_actor.deployment import Deployment
from sac_actor.environment import (
    Environment,
    EpisodeCut,
    Float32,
    Interrupted,
    NoStart,
    make_environment,
)
from sac_actor.loop import EnvironmentLoop, Evaluation, Pace, evaluate
from sac_actor.marks import Kind, Mark, Refused
from sac_actor.parameters import RobotParameters
from sac_actor.person import Person
from sac_actor.queue import TransitionQueue
from sac_actor.reports import Reports
from sac_msgs.msg import ActorStatus, TeleopAction
from sac_msgs.srv import MarkEpisode
from sac_ros import node, qos
from sac_ros.codecs import check_mark, printable
from sac_ros.parameters import UserError, parameter
from sac_ros.refusals import Refusals

MOMENT = 0.1  # s after which a waiting actor looks again
AFTER_CUT = 1.0  # s between two attempts to begin an episode after one was cut
MAX_FAULT = 512  # characters, as in ActorStatus.msg
SILENCE = 10.0  # s between two reminders that there is no learner, or no recorder
STATES = {
    SOURCE_RANDOM: "random",
    SOURCE_POLICY: "policy",
    SOURCE_HUMAN: "human",
    SOURCE_SCRIPTED: "scripted",
}


@dataclass(frozen=True)
class Parameters(RobotParameters):
    """Parameters of the actor node."""

    seed: int = parameter(0, "Seed of the environment and of exploration", minimum=0)
    checkpoint: str = parameter(
        "", "Policy to use as it is, without a learner: a checkpoint folder or an exported file"
    )
    step_rate: float = parameter(
        200.0,
        "Steps per second in a Gymnasium environment, 0 = as fast as learner and machine can; a "
        "robot has its own",
        minimum=0.0,
        live=True,
    )
    random_steps: int = parameter(300, "Steps with random actions before the policy", minimum=0)
    behaviour: str = parameter(
        "policy",
        "Who acts: the policy (a person may take over), the task's demonstrator, or a person alone",
        choices=BEHAVIOURS,
    )
    reward_from: str = parameter(
        "task",
        "Who rewards: the task, or a person (1 on success, which ends the episode as failure does)",
        choices=("task", "human"),
    )
    teleop_timeout: float = parameter(
        0.5, "s after which a teleoperated action counts no more", minimum=0.05, maximum=10.0
    )
    max_episodes: int = parameter(
        0, "Episodes that are not discarded after which the actor ends, 0 = never", minimum=0
    )
    wait_for_recorder: bool = parameter(
        False, "No episode begins while nobody listens to sac/steps"
    )
    flush_period: int = parameter(30, "Steps between two batches to the learner", minimum=1)
    queue_capacity: int = parameter(2000, "Transitions kept until acknowledged", minimum=1)
    apply_policy_at: str = parameter(
        "flush", "When new weights are taken", choices=("flush", "step", "episode"), live=True
    )
    eval_period: int = parameter(
        10_000, "Steps between two evaluations, 0 = never", minimum=0, live=True
    )
    eval_episodes: int = parameter(5, "Episodes of one evaluation", minimum=1, live=True)
    eval_success: float = parameter(
        0.0,
        "An evaluation ends early once this success rate is out of reach, 0 = never",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )


class Actor(node.SacNode[Parameters]):
    """Acts in an environment on behalf of a learner elsewhere."""

    environment: Environment  # while configured
    queue: TransitionQueue  # since it was configured first
    loop_: EnvironmentLoop
    delivery: Delivery | Deployment

    def __init__(self) -> None:
        super().__init__("sac_actor", Parameters)
        self._made = ExitStack()  # what `configure` made, to be given back
        self._refusals = Refusals(self)
        self._evaluations = 0
        self._evaluation = Evaluation(0, (float("nan"),), (0,), None)
        self._evaluating = self._taken_over = False  # the latter: by a person, meanwhile
        self._waiting_for = ""  # what has to happen before an episode may begin
        self._held_up = False  # until the queue has room
        self._state_shown = ""
        self._fault = ""  # why the episode was cut, until one begins again
        self._for_person = False  # whether only a person can do something about it
        self._cuts = 0  # episodes that a fault ended
        self._last_fault, self._last_fault_stamp = "", Time()
        self._next_evaluation = 0
        self._was_connected = False
        self._last_reminder = time.monotonic()
        self._rate_mark = (time.monotonic(), 0)
        self._rate = 0.0
        self._pace = Pace()

    def configure(self) -> None:
        p = self.parameters
        self._made.close()  # of an attempt that failed
        if p.checkpoint and p.behaviour != "policy":
            raise UserError(
                f"checkpoint {p.checkpoint} is for behaviour 'policy', not {p.behaviour!r}: leave "
                "one of the two out"
            )
        by_person = p.reward_from == "human"
        self.environment = make_environment(self, p, p.env_id, self._goes_on, by_person)
        self._made.callback(self.environment.close)
        if hasattr(self, "loop_"):  # configured once more: what is queued stays
            self.loop_.environment = self.environment
            self.loop_.behaviour = self._make_behaviour()
            self.loop_.abandon_episode()
        else:
            sizes = (self.environment.observation_size, self.environment.action_size)
            self.queue = TransitionQueue(p.queue_capacity, *sizes)
            self._learnt = self._make_learnt()
            self._person = Person(self.environment.action_size, p.teleop_timeout)
            self.reports = Reports(self, self.queue, p.behaviour)
            self.delivery = (
                Deployment(p.checkpoint, self.queue)
                if p.checkpoint
                else Delivery(self, self.queue, p.flush_period, self._refusals)
            )
            self.loop_ = EnvironmentLoop(
                self.environment,
                self.queue,
                self._make_behaviour(),
                p.seed,
                self.reports,
                by_person,
            )
            self.loop_.go_on = self._goes_on
            self._next_evaluation = p.eval_period
        self.reports.open(self.environment)
        self._made.callback(self.reports.close)
        self.delivery.open(self.environment)
        self._made.callback(self.delivery.close)
        self._take_policy()
        self._open_topics()
        self.get_logger().info(
            f"Acting in {self.environment.name}: {self.environment.observation_size} observations, "
            f"{self.environment.action_size} actions; session {self.session:016x}"
        )
        if isinstance(self.delivery, Deployment):
            self.get_logger().info(f"With the mean action of {self.delivery}; nothing is learnt")

    def _open_topics(self) -> None:
        options = {"qos_overriding_options": qos.OVERRIDABLE}
        self._status = self.create_publisher(ActorStatus, "sac/actor/status", qos.STATUS, **options)
        self._made.callback(self.destroy_publisher, self._status)
        teleop = self.create_subscription(
            TeleopAction, "sac/teleop_action", self._on_teleop, qos.TELEOP_ACTION, **options
        )
        self._made.callback(self.destroy_subscription, teleop)
        self._mark_service = self.create_service(MarkEpisode, "~/mark_episode", self._on_mark)
        self._made.callback(self.destroy_service, self._mark_service)
        self._made.callback(self.destroy_timer, self.create_timer(1.0, self._every_second))

    def cleanup(self) -> None:
        self._made.close()
        if hasattr(self, "environment"):
            del self.environment

    def _make_learnt(self) -> Learnt:
        p = self.parameters
        random_steps = 0 if p.checkpoint else p.random_steps
        return Learnt(self.environment.action_size, random_steps, p.seed, explores=not p.checkpoint)

    def _make_behaviour(self) -> Behaviour:
        p = self.parameters
        return make_behaviour(p.behaviour, self.environment, self._learnt, self._person, p.seed)

    def _goes_on(self) -> bool:
        return self.active.is_set() and not self.stopping.is_set()

    # The loop, on the main thread.

    def work(self) -> None:
        try:
            self._act()
        except Interrupted:
            self.loop_.abandon_episode()
        except EpisodeCut as cut:
            self._on_cut(cut)

    def _act(self) -> None:
        p = self.parameters
        if not self.loop_.under_way and self._must_wait():
            return
        self._held_up = self._is_ahead_of_learner()
        if self._held_up:
            self.delivery.send(whole=True)
            self.stopping.wait(MOMENT)
            return
        if not self.environment.paces_itself:
            self._pace.wait(p.step_rate)
        episode_ended = self.loop_.step()
        if self._fault:
            self.get_logger().info("Acting again")
            self._fault, self._for_person = "", False
        flush = self.delivery.is_due(self.loop_.steps)
        if flush:
            self.delivery.send()
        if (
            p.apply_policy_at == "step"
            or (flush and p.apply_policy_at == "flush")
            or (episode_ended and p.apply_policy_at == "episode")
        ):
            self._take_policy()
        if self._state() != self._state_shown:
            self._publish_status()
        if episode_ended:
            self._after_episode()

    def _must_wait(self) -> bool:
        """Whether no episode may begin yet; if so, the arm rests and a moment passes."""
        waiting_for = ""
        if self._lacks_recorder:
            waiting_for = f"a recorder on {self.reports.topic}"
        elif self.loop_.marks.waiting:
            waiting_for = f"START on {self.get_fully_qualified_name()}/mark_episode"
        if waiting_for != self._waiting_for:
            self._waiting_for = waiting_for
            self._publish_status()
            if waiting_for:
                self.environment.hold()
                self.get_logger().info(f"Waiting for {waiting_for}")
        if waiting_for and not self.loop_.marks.wait(MOMENT):
            self.stopping.wait(MOMENT)
        return bool(waiting_for)

    def _is_ahead_of_learner(self) -> bool:
        """Whether a simulation that is as fast as it can would only make rows that overflow.

        One on a clock, and a robot, never wait.
        """
        clocked = self.environment.paces_itself or self.parameters.step_rate > 0.0
        if clocked or not self._expects_learner:
            return False
        room = self.queue.capacity - len(self.queue)
        return room < min(self.parameters.flush_period, self.queue.capacity)

    @property
    def _lacks_recorder(self) -> bool:
        return self.parameters.wait_for_recorder and not self.reports.recorded

    def _after_episode(self) -> None:
        p = self.parameters
        if p.checkpoint:
            self._say_how_it_went()
        if 0 < p.max_episodes <= self.loop_.episodes_kept:
            self.get_logger().info(f"Complete: {p.max_episodes} episodes")
            self.stopping.set()
        elif self._evaluation_is_due():
            self._evaluate()

    def _say_how_it_went(self) -> None:
        loop = self.loop_
        outcome = {True: ", success", False: ", no success", None: ""}[loop.last_success]
        self.get_logger().info(
            f"Episode {loop.episodes}: return {loop.last_return:.1f} in {loop.last_length} steps"
            f"{outcome}"
        )

    def _evaluation_is_due(self) -> bool:
        p = self.parameters
        learns = p.behaviour == "policy" and not p.checkpoint
        is_due = learns and p.eval_period > 0 and self._next_evaluation <= self.loop_.steps
        return is_due and self._wish_of_person() is None  # whoever has taken over goes on

    def _on_cut(self, cut: EpisodeCut) -> None:
        """Say why there is no episode, and wait a moment before the next attempt."""
        reason = str(cut)
        if not isinstance(cut, NoStart):
            self._cuts += 1
            self._last_fault, self._last_fault_stamp = reason, self.get_clock().now()
        if reason != self._fault:
            self.get_logger().error(f"Episode stopped: {reason}")
        self._fault, self._for_person = reason, cut.for_person
        self._publish_status()
        self.stopping.wait(AFTER_CUT)

    def _take_policy(self) -> None:
        self._learnt.policy = self.delivery.newest_policy

    def _evaluate(self) -> None:
        """Episodes with the mean action of the newest weights; nothing of them is stored."""
        self._take_policy()
        if self._learnt.policy is None:
            return  # there will be an evaluation at the end of the first episode with weights
        p = self.parameters
        self._evaluating = True
        self._person.forget_motion()
        try:
            result = evaluate(
                self.environment,
                self._learnt.policy,
                p.eval_episodes,
                go_on=self._goes_on,
                wanted=p.eval_success,
                person=self._wish_in_evaluation,
            )
        finally:
            self._evaluating = self._taken_over = False
        if result is None:
            return
        self._next_evaluation = self.loop_.steps + p.eval_period
        self._evaluation = result
        self._evaluations += 1
        successes = ""
        if result.successes is not None:
            successes = f"{result.successes} of {len(result.returns)} succeeded, "
        self.get_logger().info(
            f"Evaluation {self._evaluations}: {successes}"
            f"mean return {result.mean:.1f} ± {result.std:.1f} "
            f"over {len(result.returns)} episodes (weights of learner step {result.policy_version})"
        )
        self._publish_status()

    def _wish_of_person(self) -> Float32 | None:
        """What a person who has taken over asks for."""
        heard = self._person.heard
        return heard.action if heard is not None and heard.engaged else None

    def _wish_in_evaluation(self) -> Float32 | None:
        wish = self._wish_of_person()
        if wish is not None and not self._taken_over:
            self._taken_over = True
            self._publish_status()
            self.get_logger().info(
                "A person has taken over: there is no evaluation now, and this episode goes on to "
                "its end without being stored"
            )
        return wish

    def on_deactivate(self, state):  # type: ignore[no-untyped-def]
        result = super().on_deactivate(state)
        self.loop_.abandon_episode()
        return result

    def finish(self) -> None:
        """Send what is left and wait for its acknowledgement, for a bounded time."""
        if not hasattr(self, "environment"):
            return  # never configured, or cleaned up
        self.loop_.abandon_episode()
        self.delivery.finish()
        self._publish_status()
        missed = self._expects_learner and len(self.queue) > 0
        left = f", {len(self.queue)} rows not acknowledged" if missed else ""
        loop = self.loop_
        shown = self.parameters.checkpoint and loop.judged
        outcome = f", {loop.successes} of {loop.judged} succeeded" if shown else ""
        self.get_logger().info(
            f"Stopped after {loop.steps} steps and {loop.episodes} episodes{outcome}{left}"
        )

    # What a person says, on the executor thread.

    def _on_teleop(self, message: TeleopAction) -> None:
        try:
            self._person.take(message)
        except ValueError as error:
            name = printable(message.operator_name)
            self._refusals.add("teleoperation", f"teleoperation of {name!r} refused: {error}")

    def _on_mark(
        self, request: MarkEpisode.Request, response: MarkEpisode.Response
    ) -> MarkEpisode.Response:
        try:
            response.message = self._marked(request)
            response.success = True
        except (ValueError, Refused) as error:
            response.message = str(error)
        outcome = "" if response.success else "refused: "
        self.get_logger().info(
            f"Mark {request.mark} of {printable(request.operator_name)!r}: "
            f"{outcome}{response.message}"
        )
        return response

    def _marked(self, request: MarkEpisode.Request) -> str:
        check_mark(request)
        if not self.active.is_set():
            raise Refused("the actor is paused")
        if self._evaluating:
            raise Refused("an evaluation is under way")
        if request.mark == Kind.START and self._lacks_recorder:
            raise Refused(f"nobody listens to {self.reports.topic}: start the recorder first")
        return self.loop_.marks.give(Mark(Kind(request.mark), request.operator_name))

    # What goes out.

    @property
    def _expects_learner(self) -> bool:
        """Whether a missing learner is worth a word: demonstrations may do without."""
        p = self.parameters
        return (p.behaviour == "policy" and not p.checkpoint) or self.delivery.followed

    def _every_second(self) -> None:
        then, steps = self._rate_mark
        now = time.monotonic()
        self._rate = (self.loop_.steps - steps) / (now - then)
        self._rate_mark = (now, self.loop_.steps)
        self._publish_status()
        self._say_whether_connected(now)
        # A loop that is paused, evaluates or waits for a reset comes to no flush.
        self.delivery.send(whole=self.active.is_set())

    def _say_whether_connected(self, now: float) -> None:
        connected = self.delivery.connected
        if connected and not self._was_connected:
            self.get_logger().info("A learner listens")
        overdue = now - self._last_reminder > SILENCE and self.active.is_set()
        if not connected and overdue and self._expects_learner:
            self._last_reminder = now
            policy = self._learnt.policy
            acting = f"weights of learner step {policy.version}" if policy else "random actions"
            goes_on = "waiting for one" if self._held_up else f"acting on with {acting}"
            self.get_logger().warning(
                f"No learner listens on {self.delivery.topic}: {goes_on}, "
                f"{len(self.queue)} of {self.queue.capacity} rows queued, "
                f"{self.queue.dropped} dropped"
            )
        self._was_connected = connected

    def _state(self) -> str:
        if not self.active.is_set():
            return "paused"
        if self.environment.health.recovering:
            return "recovering"
        if self._fault:
            return "waiting" if self._for_person else "fault"
        if self._evaluating:
            return "evaluating"
        if self._waiting_for or self._held_up:
            return "waiting"
        source = self.loop_.source
        return "resetting" if source is None else STATES[source]

    def _publish_status(self) -> None:
        policy = self._learnt.policy
        now = self.get_clock().now()
        age = (now - self.delivery.newest_policy_stamp).nanoseconds / 1e9 if policy else 0.0
        clips, health = self.environment.clips, self.environment.health
        status = ActorStatus(
            actor_id=self.get_name(),
            actor_session=self.session,
            task=self.environment.name,
            state=self._state(),
            fault=self._fault[:MAX_FAULT],
            observation_size=self.environment.observation_size,
            action_size=self.environment.action_size,
            steps=self.loop_.steps,
            episodes=self.loop_.episodes,
            steps_per_second=self._rate,
            last_return=self.loop_.last_return,
            last_length=self.loop_.last_length,
            queued=len(self.queue),
            dropped=self.queue.dropped,
            rejected=self.delivery.rejected_rows,
            learner_connected=self.delivery.connected,
            policy_version=policy.version if policy else 0,
            policy_age=age,
            policies_received=self.delivery.policies_received,
            policies_rejected=self.delivery.policies_rejected,
            evaluations=self._evaluations,
            evaluation_policy_version=self._evaluation.policy_version,
            evaluation_episodes=len(self._evaluation.returns) if self._evaluations else 0,
            evaluation_return_mean=self._evaluation.mean,
            evaluation_return_std=self._evaluation.std,
            evaluation_success_rate=self._evaluation.success_rate,
            clipped=clips.commands,
            clips=str(clips),
            episodes_cut=self._cuts,
            last_fault=self._last_fault[:MAX_FAULT],
            last_fault_stamp=self._last_fault_stamp.to_msg(),
            recoveries=health.recoveries,
            strikes=health.strikes,
            human_acts=self.loop_.source == SOURCE_HUMAN or self._taken_over,
            human_steps=self.loop_.human_steps,
        )
        status.header.stamp = now.to_msg()
        self._state_shown = status.state
        self._status.publish(status)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        if not hasattr(self, "environment"):
            return DiagnosticStatus.WARN, "not configured", {}
        values: dict[str, object] = {
            "state": self._state(),
            "steps": self.loop_.steps,
            "steps_per_second": f"{self._rate:.1f}",
            "queued": len(self.queue),
            "dropped": self.queue.dropped,
            "episodes_cut": self._cuts,
            "policies_rejected": self.delivery.policies_rejected,
            "human_steps": self.loop_.human_steps,
            "teleoperations_refused": self._person.refused,
        }
        values |= self.environment.diagnose()
        if self._fault:
            return DiagnosticStatus.ERROR, self._fault, values
        values["last_refusal"] = self._refusals.newest or "none"
        if self._refusals.recent:
            return DiagnosticStatus.ERROR, self._refusals.newest, values
        if not self._expects_learner:
            return DiagnosticStatus.OK, self._state(), values
        if self.queue.dropped:
            return DiagnosticStatus.WARN, f"{self.queue.dropped} rows dropped: queue full", values
        if not self._was_connected:
            return DiagnosticStatus.WARN, "no learner listens", values
        return DiagnosticStatus.OK, self._state(), values


def main() -> None:
    """Entry point of `ros2 run sac_actor actor`."""
    node.main(Actor, "sac_actor")
