"""SACConfig refuses what cannot work and survives JSON."""

from __future__ import annotations

import json

import pytest

from sac_core.config import SACConfig


def test_a_configuration_survives_json():
    config = SACConfig(batch_size=64, hidden_sizes=(32, 16), target_entropy=-1.5)
    assert SACConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_absent_options_take_their_defaults():
    assert SACConfig.from_dict({"discount": 0.9}) == SACConfig(discount=0.9)


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown option of SACConfig: dicsount"):
        SACConfig.from_dict({"dicsount": 0.9})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("utd_ratio", -1),
        ("discount", 1.1),
        ("discount", float("nan")),
        ("discount", "0.99"),
        ("soft_target_update_rate", 0.0),
        ("critic_learning_rate", 0.0),
        ("actor_learning_rate", float("inf")),
        ("temperature_learning_rate", -1e-3),
        ("initial_temperature", 0.0),
        ("target_entropy", float("nan")),
        ("backup_entropy", 1),
        ("critic_layer_norm", None),
        ("hidden_sizes", ()),
        ("hidden_sizes", (256, 0)),
        ("hidden_sizes", 256),
        ("precision", "float16"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line_with_name_and_value(name, value):
    with pytest.raises(ValueError) as caught:
        SACConfig(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} must be") and repr(value) in message
    assert "\n" not in message
