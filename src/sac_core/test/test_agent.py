"""The agent against the formulas of the papers, written out independently in sac_reference.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sac_reference as reference
import safetensors.numpy
import torch

from sac_core.agent import SACAgent
from sac_core.config import SACConfig
from sac_core.networks import squash
from sac_core.policy import Policy
from sac_core.replay import ReplayBuffer, RowLayout

OBSERVATION_SIZE, ACTION_SIZE = 3, 2
LAYOUT = RowLayout(OBSERVATION_SIZE, ACTION_SIZE)
SMALL = SACConfig(batch_size=4, utd_ratio=3, hidden_sizes=(6, 5), initial_temperature=0.3)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_agent(seed: int = 0, **options) -> SACAgent:
    config = SACConfig.from_dict({**SMALL.to_dict(), **options})
    return SACAgent(OBSERVATION_SIZE, ACTION_SIZE, config, seed)


def random_rows(config: SACConfig = SMALL, seed: int = 0) -> np.ndarray:
    """Transitions of which about a third are terminal."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((config.batch_size * config.utd_ratio, LAYOUT.row_size))
    rows[:, LAYOUT.action] = np.tanh(rows[:, LAYOUT.action])
    rows[:, LAYOUT.mask] = rng.random(len(rows)) > 0.3
    return rows.astype(np.float32)


def tensors_of(agent: SACAgent, group: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"{group}."): tensor.astype(np.float64)
        for name, tensor in agent.state()[0].items()
        if name.startswith(f"{group}.")
    }


def upcoming_noise(agent: SACAgent, draws: int) -> list[np.ndarray]:
    """What the agent will draw next, from a generator in the same state."""
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(agent.state()[0]["generator"].copy()))
    rows = agent.config.batch_size * agent.config.utd_ratio
    return [
        torch.randn(rows, ACTION_SIZE, generator=generator).double().numpy() for _ in range(draws)
    ]


def reference_learner(agent: SACAgent) -> reference.Learner:
    config = agent.config
    return reference.Learner(
        tensors_of(agent, "policy"),
        tensors_of(agent, "critic"),
        tensors_of(agent, "target_critic"),
        float(tensors_of(agent, "temperature")["log_alpha"]),
        reference.Options(
            batch_size=config.batch_size,
            slices=config.utd_ratio,
            discount=config.discount,
            polyak=config.soft_target_update_rate,
            learning_rates=(
                config.critic_learning_rate,
                config.actor_learning_rate,
                config.temperature_learning_rate,
            ),
            target_entropy=-ACTION_SIZE / 2,
            backup_entropy=config.backup_entropy,
        ),
    )


def as_batch(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Columns by the documented order: observation, action, reward, mask, next observation."""
    rows = rows.astype(np.float64)
    o, a = OBSERVATION_SIZE, ACTION_SIZE
    return {
        "observation": rows[:, :o],
        "action": rows[:, o : o + a],
        "reward": rows[:, o + a],
        "mask": rows[:, o + a + 1],
        "next_observation": rows[:, o + a + 2 :],
    }


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("backup_entropy", [True, False])
def test_two_learner_steps_equal_the_formulas(layer_norm: bool, backup_entropy: bool):
    agent = make_agent(
        critic_layer_norm=layer_norm,
        backup_entropy=backup_entropy,
        critic_learning_rate=1e-3,
        actor_learning_rate=2e-3,
        temperature_learning_rate=3e-3,
        soft_target_update_rate=0.1,
        discount=0.9,
    )
    expected = reference_learner(agent)
    noise = upcoming_noise(agent, draws=4)
    for step in range(2):
        rows = random_rows(seed=step)
        info = agent.update(rows)
        # One step draws the next actions' noise of all rows first, the actor's second.
        wanted = expected.step(as_batch(rows), noise[2 * step], noise[2 * step + 1])
        assert info.keys() == wanted.keys()
        for name, value in wanted.items():
            assert float(info[name]) == pytest.approx(value, rel=2e-5, abs=2e-6), name

    for group, wanted_tensors in (
        ("policy", expected.policy),
        ("critic", expected.critic),
        ("target_critic", expected.target),
        ("temperature", expected.log_alpha),
    ):
        found = tensors_of(agent, group)
        assert found.keys() == wanted_tensors.keys()
        for name, tensor in wanted_tensors.items():
            # Adam moves a weight by about its learning rate; the tolerance is a hundredth of it.
            np.testing.assert_allclose(found[name], tensor, rtol=0, atol=1e-5, err_msg=name)
    assert agent.step == 2


@pytest.mark.parametrize("centre", [0.0, 0.7, -3.0, 9.0, -15.0, 30.0])
def test_log_probability_equals_the_closed_form_also_near_the_bounds(centre: float):
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((50, 4)) + centre
    log_std = rng.uniform(-3, 1, (50, 4))
    noise = rng.standard_normal((50, 4))
    arguments = (torch.from_numpy(x).float() for x in (mean, log_std, noise))
    actions, log_probs = squash(*arguments)
    unsquashed = mean + np.exp(log_std) * noise
    wanted = reference.log_density(mean, log_std, unsquashed)
    np.testing.assert_allclose(actions.numpy(), np.tanh(unsquashed), atol=1e-5)
    np.testing.assert_allclose(log_probs.numpy(), wanted, rtol=3e-6, atol=3e-5)


def test_log_probability_is_a_density_over_actions():
    unsquashed = torch.linspace(-12, 12, 200_001, dtype=torch.float64)[:, None]
    mean, log_std = torch.tensor(0.4), torch.tensor(-0.5)
    actions, log_probs = squash(mean, log_std, (unsquashed - mean) / log_std.exp())
    assert np.trapezoid(log_probs.exp(), actions[:, 0]) == pytest.approx(1.0, abs=1e-6)


def test_a_terminated_transition_is_worth_its_reward_alone():
    rows = random_rows()
    rows[:, LAYOUT.mask] = 0.0
    info = make_agent().update(rows)
    assert float(info["target_q_mean"]) == pytest.approx(rows[:, LAYOUT.reward].mean(), abs=1e-6)


def test_a_truncated_transition_bootstraps_like_any_other():
    terminated, truncated, ordinary = np.array([1, 0, 0]), np.array([0, 1, 0]), np.array([0, 0, 0])
    config = SACConfig(batch_size=1, utd_ratio=1, hidden_sizes=(6,))
    row = random_rows(config)[0]
    targets = []
    for ended in range(3):
        # The mask knows of termination only.
        assert terminated[ended] + truncated[ended] + ordinary[ended] <= 1
        replay = ReplayBuffer(1, OBSERVATION_SIZE, ACTION_SIZE)
        replay.insert(
            row[None, LAYOUT.observation],
            row[None, LAYOUT.action],
            [row[LAYOUT.reward]],
            [1 - terminated[ended]],
            row[None, LAYOUT.next_observation],
        )
        agent = SACAgent(OBSERVATION_SIZE, ACTION_SIZE, config)
        targets.append(float(agent.update(replay.sample(1))["target_q_mean"]))
    assert targets[0] == pytest.approx(float(row[LAYOUT.reward]), abs=1e-6)
    assert targets[1] == targets[2] != targets[0]


def test_the_critics_take_the_slices_in_order_and_the_actor_takes_all_rows():
    rows = random_rows()
    swapped = np.concatenate([rows[4:8], rows[:4], rows[8:]])
    one, other = make_agent(), make_agent()
    one.update(rows)
    other.update(swapped)
    assert not np.array_equal(
        one.state()[0]["critic.value.weight"], other.state()[0]["critic.value.weight"]
    )
    # A change to one row of the last slice reaches the actor's update.
    changed = rows.copy()
    changed[-1, LAYOUT.observation] += 1.0
    third = make_agent()
    third.update(changed)
    assert not np.array_equal(
        one.policy_tensors()["mean.bias"], third.policy_tensors()["mean.bias"]
    )


def test_the_target_follows_the_critic_at_the_soft_rate():
    agent = make_agent(utd_ratio=1, soft_target_update_rate=0.25)
    before = tensors_of(agent, "target_critic")
    agent.update(random_rows(agent.config))
    online, after = tensors_of(agent, "critic"), tensors_of(agent, "target_critic")
    for name in before:
        np.testing.assert_allclose(
            after[name], 0.75 * before[name] + 0.25 * online[name], atol=1e-7
        )


@pytest.mark.parametrize(("target_entropy", "direction"), [(100.0, 1.0), (-100.0, -1.0)])
def test_the_temperature_rises_exactly_while_the_entropy_is_too_small(target_entropy, direction):
    agent = make_agent(target_entropy=target_entropy, temperature_learning_rate=0.01)
    before = float(tensors_of(agent, "temperature")["log_alpha"])
    assert before == pytest.approx(np.log(0.3))
    agent.update(random_rows())
    after = float(tensors_of(agent, "temperature")["log_alpha"])
    # Adam's first step is one learning rate long.
    assert after - before == pytest.approx(0.01 * direction, rel=1e-4)


def test_the_target_entropy_defaults_to_minus_half_the_action_size():
    assert make_agent().target_entropy == -ACTION_SIZE / 2
    assert make_agent(target_entropy=-0.3).target_entropy == -0.3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_restored_agent_continues_bit_for_bit(tmp_path: Path, precision: str):
    agent = make_agent(seed=3, precision=precision)
    for step in range(2):
        agent.update(random_rows(seed=step))
    tensors, metadata = agent.state()
    safetensors.numpy.save_file(tensors, tmp_path / "learner.safetensors")
    (tmp_path / "learner.json").write_text(json.dumps(metadata))

    restored = make_agent(seed=99, precision=precision)
    restored.load_state(
        safetensors.numpy.load_file(tmp_path / "learner.safetensors"),
        json.loads((tmp_path / "learner.json").read_text()),
    )
    assert restored.step == 2
    for step in range(2, 4):
        agent.update(random_rows(seed=step))
        restored.update(random_rows(seed=step))
    (wanted, wanted_metadata), (found, found_metadata) = agent.state(), restored.state()
    assert found_metadata == wanted_metadata
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_the_state_is_a_copy():
    agent = make_agent()
    tensors, policy = agent.state()[0], agent.policy_tensors()
    before = {name: tensor.copy() for name, tensor in {**tensors, **policy}.items()}
    agent.update(random_rows())
    for name, tensor in {**tensors, **policy}.items():
        np.testing.assert_array_equal(tensor, before[name])


def test_a_state_of_other_sizes_is_refused_and_changes_nothing():
    agent = make_agent()
    before = agent.state()[0]
    wider = SACAgent(OBSERVATION_SIZE, ACTION_SIZE, SACConfig(hidden_sizes=(6, 7)))
    with pytest.raises(ValueError, match=r"float32 \(5, 6\).*float32 \(7, 6\)"):
        agent.load_state(*wider.state())
    with pytest.raises(ValueError, match=r"action_size must be 2 .* has 5"):
        agent.load_state(*SACAgent(OBSERVATION_SIZE, 5, SMALL).state())
    with pytest.raises(ValueError, match=r"in one only: .*norm\.0\.bias"):
        agent.load_state(*make_agent(critic_layer_norm=False).state())
    tensors, metadata = agent.state()
    with pytest.raises(ValueError, match="step None"):
        agent.load_state(tensors, {**metadata, "step": None})
    for name, tensor in agent.state()[0].items():
        np.testing.assert_array_equal(tensor, before[name])


def test_the_numpy_policy_equals_the_torch_policy():
    agent = SACAgent(17, 6, SACConfig(batch_size=8, utd_ratio=1), seed=1)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((8, agent.layout.row_size)).astype(np.float32)
    for _ in range(3):
        agent.update(rows)
    observations = rng.standard_normal((50, 17)).astype(np.float32)
    # Zero noise gives the mean action.
    agent._draw_noise = lambda n: torch.zeros(n, 6)  # type: ignore[method-assign]
    with torch.no_grad():
        wanted, _ = agent._sample(agent._policy.frozen, torch.from_numpy(observations))
    policy = Policy(agent.policy_tensors())
    found = np.stack([policy.mean(observation) for observation in observations])
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-6)


def test_equal_seeds_give_equal_agents_and_the_global_generators_are_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    one, same, other = make_agent(seed=5), make_agent(seed=5), make_agent(seed=6)
    for agent in (one, same, other):
        agent.update(random_rows())
    name = "policy.hidden.0.weight"
    np.testing.assert_array_equal(one.state()[0][name], same.state()[0][name])
    assert not np.array_equal(one.state()[0][name], other.state()[0][name])
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]


def test_bfloat16_products_stay_close_to_float32_and_the_weights_stay_float32():
    exact, rounded = (
        make_agent(precision=precision, hidden_sizes=[64, 64], batch_size=64)
        for precision in ("float32", "bfloat16")
    )
    rows = random_rows(exact.config)
    wanted, found = exact.update(rows), rounded.update(rows)
    for name in ("critic_loss", "actor_loss", "entropy"):
        assert float(found[name]) == pytest.approx(float(wanted[name]), rel=0.03, abs=0.03)
    assert all(
        tensor.dtype == np.float32
        for name, tensor in rounded.state()[0].items()
        if name != "generator"
    )


def test_the_returned_scalars_are_detached_tensors():
    for name, value in make_agent().update(random_rows()).items():
        assert value.shape == () and not value.requires_grad, name


def test_rows_of_another_shape_or_dtype_are_refused():
    agent = make_agent()
    with pytest.raises(
        ValueError, match=r"rows must be float32 \(12, 10\), got float32 \(11, 10\)"
    ):
        agent.update(random_rows()[:-1])
    with pytest.raises(ValueError, match="got float64"):
        agent.update(random_rows().astype(np.float64))


def test_the_agent_finds_the_best_action_of_a_one_step_task():
    config = SACConfig(
        batch_size=64,
        utd_ratio=2,
        hidden_sizes=(32, 32),
        initial_temperature=0.05,
        critic_learning_rate=3e-3,
        actor_learning_rate=3e-3,
        target_entropy=-2.0,
    )
    rng = np.random.default_rng(0)
    replay = ReplayBuffer(2_000, 1, 1)
    observations = rng.uniform(-1, 1, (2_000, 1))
    actions = rng.uniform(-1, 1, (2_000, 1))
    rewards = -((actions - 0.5 * observations) ** 2)[:, 0]
    replay.insert(observations, actions, rewards, np.zeros(2_000), observations)
    agent = SACAgent(1, 1, config)
    for _ in range(300):
        agent.update(replay.sample(128))
    policy = Policy(agent.policy_tensors())
    for observation in (-0.8, 0.0, 0.8):
        assert policy.mean([observation])[0] == pytest.approx(0.5 * observation, abs=0.1)
