"""Valid messages, and whatever a field's type can hold, for the tests of the codecs."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from sac_core.policy import layout_hash
from sac_msgs.msg import (
    ActorStatus,
    EpisodeEvent,
    PolicyWeights,
    TeleopAction,
    TransitionAck,
    TransitionBatch,
    TransitionCursor,
)
from sac_ros.codecs import Transitions, policy_to_message, transitions_to_message

sensible = st.floats(-1e9, 1e9, width=32)
unit = st.floats(-1.0, 1.0, width=32)


@st.composite
def transitions(draw: st.DrawFn) -> Transitions:
    """Up to eight rows of any allowed values."""
    n, o, a = draw(st.integers(1, 8)), draw(st.integers(1, 5)), draw(st.integers(1, 4))

    def floats(shape: tuple[int, ...], elements: st.SearchStrategy[float] = sensible) -> Any:
        return draw(stn.arrays(np.float32, shape, elements=elements))

    def integers(dtype: type[np.generic], largest: int) -> Any:
        return draw(stn.arrays(dtype, n, elements=st.integers(0, largest)))

    return Transitions(
        observations=floats((n, o)),
        actions=floats((n, a), unit),
        rewards=floats((n,)),
        next_observations=floats((n, o)),
        terminated=integers(np.uint8, 1),
        truncated=integers(np.uint8, 1),
        source=integers(np.uint8, 3),
        policy_version=integers(np.uint64, 2**53),
    )


def batch(rows: int = 2) -> TransitionBatch:
    """A plain batch of 3 observations and 1 action, from the middle of a session."""
    plain = Transitions(
        observations=np.ones((rows, 3), np.float32),
        actions=np.zeros((rows, 1), np.float32),
        rewards=np.zeros(rows, np.float32),
        next_observations=np.ones((rows, 3), np.float32),
        terminated=np.zeros(rows, np.uint8),
        truncated=np.zeros(rows, np.uint8),
        source=np.zeros(rows, np.uint8),
        policy_version=np.zeros(rows, np.uint64),
    )
    message = TransitionBatch(
        actor_id="a", task="Pendulum-v1", first_sequence=9, oldest_sequence=5, dropped=2
    )
    return transitions_to_message(plain, message)


def policy_tensors() -> dict[str, np.ndarray]:
    """Weights from 3 observations over 4 and 2 units to 2 actions."""
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "hidden.0.weight": (4, 3),
        "hidden.0.bias": (4,),
        "hidden.1.weight": (2, 4),
        "hidden.1.bias": (2,),
    }
    for head in ("mean", "log_std"):
        shapes |= {f"{head}.weight": (2, 2), f"{head}.bias": (2,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def policy() -> PolicyWeights:
    """The weights of learner step 12."""
    return policy_to_message(policy_tensors(), PolicyWeights(learner_id="sac_learner", version=12))


def policy_of_bytes(data: bytes) -> PolicyWeights:
    """Weights that are said to be these bytes."""
    return PolicyWeights(
        learner_id="sac_learner",
        format="safetensors",
        layout=layout_hash(policy_tensors()),
        data=array.array("B", data),
    )


def ack() -> TransitionAck:
    """What a learner has of two sessions of actor a (7 and 8) and one of actor b (7)."""
    return TransitionAck(
        learner_id="sac_learner",
        learner_session=1,
        actors=[
            TransitionCursor(actor_id=name, actor_session=session, next_sequence=30, rejected=3)
            for name, session in (("a", 7), ("a", 8), ("b", 7))
        ],
    )


def status() -> ActorStatus:
    """An actor after its first evaluation."""
    return ActorStatus(
        actor_id="a",
        task="Pendulum-v1",
        state="policy",
        evaluations=1,
        evaluation_return_mean=-200.0,
        evaluation_return_std=10.0,
        evaluation_success_rate=float("nan"),
    )


def teleop_action() -> TeleopAction:
    """A person moves the tool and closes the gripper."""
    return TeleopAction(
        operator_name="Ada L.", teleop_session=3, engaged=True, action=[0.5, -1.0, 0.0, 1.0]
    )


def episode_event() -> EpisodeEvent:
    """The end of an episode that a person showed."""
    return EpisodeEvent(
        actor_id="a",
        task="pick_cube",
        behaviour="teleop",
        operator_name="Ada L.",
        control_rate=10.0,
        episode=4,
        event=EpisodeEvent.ENDED,
        first_sequence=100,
        length=30,
        episode_return=-3.5,
        terminated=True,
        outcome=EpisodeEvent.OUTCOME_SUCCESS,
        human_steps=30,
    )


# Whatever a field can hold on the wire, by its type.

_numbers = {
    "float": st.floats(width=32),
    "boolean": st.booleans(),
    **{
        f"uint{bits}": st.sampled_from([0, 1, 2, 2**bits - 1]) | st.integers(0, 2**bits - 1)
        for bits in (8, 32, 64)
    },
}
_typecodes = {"float": "f", "uint8": "B", "uint64": "Q"}


def anything(field_type: str) -> st.SearchStrategy[Any]:
    """Any value of a field of this type, some beyond the bounds of the message definition."""
    if field_type.startswith("string"):
        return st.text(max_size=12) | st.integers(250, 600).map("x".__mul__)
    if field_type.startswith("sequence"):
        element = field_type.removeprefix("sequence<").split(",")[0]
        values = st.lists(_numbers[element], max_size=30)
        return values.map(lambda numbers: array.array(_typecodes[element], numbers))
    return _numbers[field_type]


def spoil(draw: st.DrawFn, message: Any, times: int = 3) -> None:
    """Put anything into one to `times` fields of a message."""
    types = message.get_fields_and_field_types()
    plain = [name for name in types if "/" not in types[name]]
    for name in draw(st.lists(st.sampled_from(plain), min_size=1, max_size=times, unique=True)):
        value = getattr(message, name)
        if isinstance(value, array.array) and len(value) and draw(st.booleans()):
            element = types[name].removeprefix("sequence<").split(",")[0]
            value[draw(st.integers(0, len(value) - 1))] = draw(_numbers[element])
        else:
            setattr(message, name, draw(anything(types[name])))
