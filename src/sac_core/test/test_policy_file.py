"""A policy in one file: everything comes back, and whatever is wrong with it is one line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_tensors import make_tensors

from sac_core.checkpoint import CheckpointError, save_checkpoint
from sac_core.policy import encode_policy, layout_hash
from sac_core.policy_file import load_policy, save_policy
from sac_core.specification import (
    Quantity,
    Specification,
    decode_specification,
    encode_specification,
    scaled_to,
)
from sac_core.tensors import decode_with_metadata, encode_tensors

OBSERVATIONS = (
    Quantity("tool_x", "m", -math.inf, math.inf, 0.2, 0.52),
    Quantity("tool_y", "m", -math.inf, math.inf, 0.2, 0.0),
    Quantity("cube_x", "m", -2.0, 2.0, 0.025, 0.0),
    Quantity("closed", "", -1.0, 1.0, 1.0, 0.0),
)
ACTIONS = (
    Quantity("displacement_x", "m", -1.0, 1.0, 0.05, 0.0),
    Quantity("gripper", "", -1.0, 1.0, 1.0, 0.0),
)
SPECIFICATION = Specification("pick_cube", "fr3", 10.0, OBSERVATIONS, ACTIONS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    save_policy(path, make_tensors(), 1431, SPECIFICATION)
    return path


def rewrite(path: Path, **changes: object) -> None:
    """Change what the metadata say; None leaves it out."""
    tensors, texts = decode_with_metadata(path.read_bytes(), 10**6)
    description = {**json.loads(texts["sac_policy"]), **changes}
    kept = {name: value for name, value in description.items() if value is not None}
    path.write_bytes(encode_tensors(tensors, {"sac_policy": json.dumps(kept)}))


def test_weights_and_specification_come_back(file: Path) -> None:
    stored = load_policy(file)
    assert stored.specification == SPECIFICATION
    assert (stored.task, stored.policy.version) == ("pick_cube", 1431)
    for name, tensor in make_tensors().items():
        np.testing.assert_array_equal(stored.tensors[name], tensor)
    stored.check(SPECIFICATION)


def test_another_program_needs_safetensors_and_json_only(file: Path) -> None:
    import safetensors

    with safetensors.safe_open(file, "numpy") as reader:
        description = json.loads(reader.metadata()["sac_policy"])
        assert reader.get_tensor("mean.weight").shape == (2, 8)
    assert description["format"] == 1
    assert description["step"] == 1431
    assert description["layout"] == layout_hash(make_tensors())
    specification = description["specification"]
    assert specification["control_rate"] == 10.0
    assert specification["observations"]["name"] == ["tool_x", "tool_y", "cube_x", "closed"]
    assert specification["observations"]["offset"] == [0.52, 0.0, 0.0, 0.0]
    assert specification["observations"]["low"] == [None, None, -2.0, -1.0]
    assert specification["actions"]["scale"] == [0.05, 1.0]


def test_the_same_policy_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    save_policy(tmp_path / "again", make_tensors(), 1431, SPECIFICATION)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_a_checkpoint_folder_is_read_as_well_and_knows_its_task(tmp_path: Path) -> None:
    metadata = {"task": "pick_cube", "config": {}}
    save_checkpoint(tmp_path, 7, make_tensors(), {}, metadata, keep=1)
    stored = load_policy(tmp_path)
    assert (stored.task, stored.policy.version) == ("pick_cube", 7)
    stored.check(SPECIFICATION)
    with pytest.raises(CheckpointError, match=r"was trained in 'pick_cube', not 'reach'$"):
        stored.check(replace(SPECIFICATION, task="reach"))


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        ({"task": "reach"}, "was trained in 'pick_cube', not 'reach'"),
        (
            {"observations": OBSERVATIONS[:3]},
            "has 4 observations and 2 actions; 'pick_cube' has 3 and 2",
        ),
        ({"robot_type": "fer"}, "another version of 'pick_cube' than this: .* 'fr3', not 'fer'"),
        ({"control_rate": 20.0}, "with control_rate 10, not 20"),
        (
            {"observations": (OBSERVATIONS[1], OBSERVATIONS[0], *OBSERVATIONS[2:])},
            r"with observation 0 is tool_x \(\+0.52 0.2 m\), not tool_y \(0.2 m\)",
        ),
        (
            {"actions": (replace(ACTIONS[0], scale=0.02), ACTIONS[1])},
            r"with action 0 is displacement_x \(0.05 m\), not displacement_x \(0.02 m\)",
        ),
    ],
)
def test_another_task_shape_or_meaning_is_refused_with_both_named(
    ours: dict, reason: str, file: Path
) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_policy(file).check(replace(SPECIFICATION, **ours))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scales_agree_within_what_float32_leaves_of_them(file: Path) -> None:
    rounded = tuple(replace(q, scale=float(np.float32(q.scale))) for q in OBSERVATIONS)
    load_policy(file).check(replace(SPECIFICATION, observations=rounded))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format must be 1, got 2"),
        ({"format": None}, "format must be 1, got null"),
        ({"step": -1}, "step must be a count, got -1"),
        ({"step": True}, "step must be a count, got true"),
        ({"layout": "0" * 16}, r"layout must be '[0-9a-f]{16}' as of its tensors, got '0{16}'"),
        ({"layout": None}, "layout must be a text, got null"),
        ({"specification": None}, "expected a JSON object, got NoneType"),
        ({"specification": {}}, "task must be a text"),
    ],
)
def test_metadata_that_are_wrong_are_refused(changes: dict, reason: str, file: Path) -> None:
    rewrite(file, **changes)
    with pytest.raises(CheckpointError, match=rf"^{file}: .*{reason}"):
        load_policy(file)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("name", 7, "name of observations.2. must be a text .* got 7"),
        ("name", "a\nb", "must be a text of at most 256 printable characters"),
        ("name", "x" * 257, "must be a text of at most 256 printable characters"),
        ("scale", 0.0, "must have low below high and a positive scale, got -2, 2 and 0"),
        ("scale", 10**400, "scale of observations.2. must be finite, got inf"),
        ("scale", True, "scale of observations.2. must be a number, got true"),
        ("low", 2.0, "must have low below high and a positive scale, got 2, 2 and 0.025"),
        ("offset", None, "offset of observations.2. must be a number, got null"),
    ],
)
def test_quantities_that_are_wrong_are_refused(
    column: str, value: object, reason: str, file: Path
) -> None:
    specification = encode_specification(SPECIFICATION)
    specification["observations"][column][2] = value
    rewrite(file, specification=specification)
    with pytest.raises(CheckpointError, match=reason):
        load_policy(file)


def test_lists_must_fit_one_another_and_the_weights(file: Path) -> None:
    specification = encode_specification(SPECIFICATION)
    specification["actions"]["unit"].append("m")
    rewrite(file, specification=specification)
    with pytest.raises(CheckpointError, match="actions must have lists of one length"):
        load_policy(file)
    rewrite(file, specification=encode_specification(replace(SPECIFICATION, actions=ACTIONS[:1])))
    with pytest.raises(CheckpointError, match=r"must have 4 observations and 2 .* 4 and 1"):
        load_policy(file)
    del specification["actions"]["unit"]
    rewrite(file, specification=specification)
    with pytest.raises(CheckpointError, match="actions must have the lists name, unit, low, high"):
        load_policy(file)


def test_what_is_no_policy_file_is_refused(tmp_path: Path, file: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_bytes(encode_policy(make_tensors()))
    for path, reason in (
        (bare, "expected a policy that export_policy wrote"),
        (tmp_path / "nothing", "expected a checkpoint or run folder, found nothing"),
        (tmp_path, "no complete checkpoint|expected"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            load_policy(path)
    whole = file.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=str(file)):
            load_policy(file)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_is_one_line_or_harmless(data: st.DataObject, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    save_policy(path, make_tensors(), 3, SPECIFICATION)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        load_policy(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert str(error).isprintable()


def test_a_policy_that_does_not_fit_its_specification_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text("what was there")
    with pytest.raises(ValueError, match="must have 4 observations and 3 actions as its tensors"):
        save_policy(path, make_tensors(action_size=3), 1, SPECIFICATION)
    many = tuple(replace(OBSERVATIONS[0], name=f"observation_{i}") for i in range(5000))
    with pytest.raises(ValueError, match="safetensors header of at most 100000 bytes"):
        save_policy(
            path, make_tensors(observation_size=5000), 1, replace(SPECIFICATION, observations=many)
        )
    assert path.read_text() == "what was there"
    assert [child.name for child in tmp_path.iterdir()] == ["policy"]


def test_a_folder_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_policy(tmp_path / "no" / "policy", make_tensors(), 1, SPECIFICATION)


numbers = st.floats(-1e6, 1e6)


@given(low=numbers, width=st.floats(1e-3, 1e6), rate=st.floats(0, 1e3))
def test_any_specification_comes_back_from_json(low: float, width: float, rate: float) -> None:
    actions = scaled_to("action", [low], [low + width])
    assert math.isclose(actions[0].offset + actions[0].scale, low + width, abs_tol=1e-6)
    assert math.isclose(actions[0].offset - actions[0].scale, low, abs_tol=1e-6)
    specification = Specification("Some-v1", "", rate, OBSERVATIONS, actions)
    text = json.dumps(encode_specification(specification), allow_nan=False)
    assert decode_specification(json.loads(text)) == specification
