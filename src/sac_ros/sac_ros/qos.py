"""The QoS profile of every topic of the suite (docs/architecture.md has the table).

Pass `OVERRIDABLE` as `qos_overriding_options` wherever one of these is used, so that a user can
change a profile through `qos_overrides./<topic>.<publisher|subscription>.<policy>` parameters.
"""

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions, QoSPolicyKind


def _reliable(depth: int, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=durability,
    )


TRANSITIONS = _reliable(100, DurabilityPolicy.VOLATILE)
TRANSITIONS_ACK = _reliable(1, DurabilityPolicy.TRANSIENT_LOCAL)
POLICY = _reliable(1, DurabilityPolicy.TRANSIENT_LOCAL)
STATUS = _reliable(1, DurabilityPolicy.TRANSIENT_LOCAL)
# One subscription hears every actor's status: a depth of 1 would keep one actor's only.
STATUS_OF_MANY = _reliable(32, DurabilityPolicy.TRANSIENT_LOCAL)
# Robot state is wanted new, not whole; best effort also matches reliable publishers.
ROBOT_STATE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# A command must arrive, or be forgotten: a late one would move the robot for an old reason.
ROBOT_COMMAND = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
    lifespan=Duration(seconds=0.5),
)
WATCHED = 128  # messages of a flood that a watchdog counts at a time
# A watchdog counts commands and hears actors without holding up whoever sends them.
WATCHED_COMMANDS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=WATCHED,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
WATCHED_STATUS = WATCHED_COMMANDS
# Whoever says it, and when: a latched one is heard also by a watchdog that is started afterwards.
EMERGENCY_STOP = (
    _reliable(10, DurabilityPolicy.VOLATILE),
    _reliable(1, DurabilityPolicy.TRANSIENT_LOCAL),  # what was before its newest is over
    WATCHED_COMMANDS,
)
# What an operator says to a prompt.
ANSWER = _reliable(1, DurabilityPolicy.VOLATILE)
# A person's wish counts now or never, as a command does.
TELEOP_ACTION = ROBOT_COMMAND
# Drivers publish reliably or not; only the newest deflection matters, but every press of a button.
JOY = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=20,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
# Each step by itself, and each episode's beginning and end, for whoever records them.
STEPS = _reliable(100, DurabilityPolicy.VOLATILE)
EPISODE = _reliable(100, DurabilityPolicy.TRANSIENT_LOCAL)
MARKERS = _reliable(1, DurabilityPolicy.VOLATILE)
DIAGNOSTICS = _reliable(1, DurabilityPolicy.VOLATILE)

OVERRIDABLE = QoSOverridingOptions(
    [
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    ]
)
