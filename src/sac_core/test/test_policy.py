"""The NumPy policy and its bytes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from policy_tensors import make_tensors

from sac_core.policy import Policy, decode_policy, encode_policy, layout_hash


def constant_policy(mean: float, log_std: float) -> Policy:
    tensors = {name: np.zeros_like(tensor) for name, tensor in make_tensors().items()}
    tensors["mean.bias"][:] = mean
    tensors["log_std.bias"][:] = log_std
    return Policy(tensors)


def test_the_mean_action_equals_the_layers_written_out():
    tensors = make_tensors()
    observation = np.array([0.3, -1.0, 2.0, 0.1], np.float32)
    hidden = observation.astype(np.float64)
    for i in range(2):
        hidden = np.maximum(tensors[f"hidden.{i}.weight"] @ hidden + tensors[f"hidden.{i}.bias"], 0)
    wanted = np.tanh(tensors["mean.weight"] @ hidden + tensors["mean.bias"])
    action = Policy(tensors).mean(observation)
    assert action.dtype == np.float32
    np.testing.assert_allclose(action, wanted, atol=1e-6)


def test_samples_follow_the_tanh_gaussian():
    policy = constant_policy(mean=0.5, log_std=np.log(0.2))
    rng = np.random.default_rng(0)
    actions = np.stack([policy.sample(np.zeros(4), rng) for _ in range(4_000)])
    unsquashed = np.arctanh(actions.astype(np.float64))
    # Five standard errors of 8,000 draws.
    assert unsquashed.mean() == pytest.approx(0.5, abs=5 * 0.2 / np.sqrt(8_000))
    assert unsquashed.std() == pytest.approx(0.2, abs=5 * 0.2 / np.sqrt(16_000))


@pytest.mark.parametrize(("log_std", "std"), [(50.0, np.exp(2.0)), (-90.0, np.exp(-20.0))])
def test_the_log_standard_deviation_is_bounded(log_std: float, std: float):
    policy = constant_policy(mean=0.0, log_std=log_std)
    noise = np.random.default_rng(3).standard_normal(2, np.float32)
    action = policy.sample(np.zeros(4), np.random.default_rng(3))
    np.testing.assert_allclose(action, np.tanh(std * noise), rtol=1e-5)


@given(
    scale=st.sampled_from([1e-3, 1.0, 1e4, 1e18, 3e38]),
    observation=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4),
    seed=st.integers(0, 100),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow is what this provokes
def test_actions_are_finite_and_within_bounds_for_any_finite_weights(scale, observation, seed):
    tensors = {name: np.sign(tensor) * np.float32(scale) for name, tensor in make_tensors().items()}
    policy = Policy(tensors)
    rng = np.random.default_rng(seed)
    for action in (policy.mean(observation[:4]), policy.sample(observation[:4], rng)):
        assert np.isfinite(action).all() and (np.abs(action) <= 1).all()


def test_an_action_stays_as_it_is_when_the_next_one_is_computed():
    policy = Policy(make_tensors())
    first = policy.mean(np.zeros(4))
    kept = first.copy()
    policy.mean(np.ones(4))
    np.testing.assert_array_equal(first, kept)


def test_later_changes_of_the_tensors_do_not_reach_the_policy():
    tensors = make_tensors()
    policy = Policy(tensors, version=7)
    before = policy.mean(np.ones(4))
    for tensor in tensors.values():
        tensor += 1
    np.testing.assert_array_equal(policy.mean(np.ones(4)), before)
    assert (policy.version, policy.observation_size, policy.action_size) == (7, 4, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_is_refused(value: float):
    policy = Policy(make_tensors())
    with pytest.raises(ValueError, match="observation must be finite"):
        policy.mean([0.0, value, 0.0, 0.0])


def test_an_observation_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(5,\)"):
        Policy(make_tensors()).mean(np.zeros(5))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("mean.bias", None, "missing: .*mean.bias"),
        ("critic.weight", np.zeros((2, 2), np.float32), "unknown: .*critic.weight"),
        ("mean.weight", np.zeros((2, 9), np.float32), r"shape \(2, 8\), got \(2, 9\)"),
        ("hidden.1.weight", np.zeros((8, 3), np.float32), r"shape \(8, 8\), got \(8, 3\)"),
        ("mean.bias", np.zeros((2, 1), np.float32), "must not have shape"),
        ("mean.bias", np.zeros(2), "must be float32, got float64"),
        ("mean.bias", np.array([0, np.nan], np.float32), "must be finite"),
    ],
)
def test_wrong_tensors_are_refused_by_name(name, tensor, message):
    tensors = make_tensors()
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    with pytest.raises(ValueError, match=message):
        Policy(tensors)


def test_the_layout_tells_structures_apart_and_ignores_values_and_order():
    layout = layout_hash(make_tensors())
    assert layout == layout_hash(make_tensors(seed=1)) == Policy(make_tensors()).layout
    assert layout == layout_hash(dict(reversed(make_tensors().items())))
    others = [make_tensors(5), make_tensors(action_size=3), make_tensors(hidden=(8,))]
    assert len({layout, *map(layout_hash, others)}) == 4


def test_weights_survive_their_bytes():
    tensors = make_tensors()
    data = encode_policy(tensors)
    for kind in (bytes, bytearray, memoryview):
        decoded = decode_policy(kind(data))
        assert decoded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(decoded[name], tensor)
            assert decoded[name].dtype == np.float32 and decoded[name].flags.writeable


def test_a_transposed_tensor_keeps_its_values():
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(decode_policy(encode_policy({"a": tensor}))["a"], tensor)


def test_anything_but_float32_is_refused_on_both_ways():
    tensor = np.zeros(3)
    with pytest.raises(ValueError, match="must be float32, got float64"):
        encode_policy({"a": tensor})
    for dtype in (np.float64, np.uint8, np.int32, np.float16):
        with pytest.raises(ValueError, match="must be float32"):
            decode_policy(safetensors.numpy.save({"a": tensor.astype(dtype)}))


def test_sizes_are_bounded_before_parsing():
    data = encode_policy(make_tensors())
    with pytest.raises(ValueError, match=f"at most 100 bytes of tensors, got {len(data)}"):
        decode_policy(data, max_bytes=100)
    with pytest.raises(ValueError, match="length field says 18446744073709551615"):
        decode_policy(b"\xff" * 8 + data[8:])
    with pytest.raises(ValueError, match="header of at most 100000 bytes"):
        decode_policy(struct.pack("<Q", 100_001) + b" " * 200_000)
    with pytest.raises(ValueError, match="at least 8 bytes, got 3"):
        decode_policy(b"abc")


def decode_or_value_error(data: bytes) -> None:
    """Any other exception fails the test."""
    try:
        decode_policy(data)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_value_error(data: bytes):
    decode_or_value_error(data)
    decode_or_value_error(struct.pack("<Q", len(data)) + data)


@given(st.data())
def test_damaged_weights_raise_nothing_but_value_error(data: st.DataObject):
    damaged = bytearray(encode_policy(make_tensors(hidden=(2,))))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    decode_or_value_error(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


json_values = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["F32", "F4"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "U8", "BF16", "F8_E4M3", "F4", "C64"])
        | json_values,
        "shape": st.lists(st.integers(-1, 2**64), max_size=10) | json_values,
        "data_offsets": st.lists(st.integers(0, 16), max_size=3) | json_values,
    }
)


@given(
    header=st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), entries | json_values),
    body=st.binary(max_size=32),
)
def test_any_header_raises_nothing_but_value_error(header, body: bytes):
    text = json.dumps(header).encode()
    decode_or_value_error(struct.pack("<Q", len(text)) + text + body)


def test_a_deeply_nested_header_is_refused():
    text = b"[" * 90_000
    with pytest.raises(ValueError, match="not safetensors data"):
        decode_policy(struct.pack("<Q", len(text)) + text)


def test_the_modules_a_robot_pc_imports_do_not_import_pytorch():
    code = (
        "import sys, sac_core, sac_core.policy, sac_core.replay, sac_core.checkpoint, "
        "sac_core.config; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
