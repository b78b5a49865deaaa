"""Looks from MuJoCo Menagerie: attached to the right bodies, without any effect on physics.

A small checkout made here stands for the download: the same bodies and classes, other meshes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from sac_envs.environment import FrankaEnv
from sac_envs.menagerie import MenagerieUnavailable
from sac_envs.robots import ROBOTS
from sac_envs.world import World

MESH = "v 0 0 0\nv .05 0 0\nv 0 .05 0\nv 0 0 .05\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
MODEL = """
<mujoco>
  <compiler angle="radian" meshdir="assets" autolimits="true"/>
  <default><default class="arm">
    <default class="visual"><geom type="mesh" contype="0" conaffinity="0" group="2"/></default>
    <default class="collision"><geom type="mesh" group="3"/></default>
  </default></default>
  <asset>
    <material name="white" rgba="1 1 1 1"/><material name="unused" rgba="1 0 1 1"/>
    <mesh file="shell.obj"/><mesh name="cover" file="lid.obj" scale="2 2 2"/>
    <mesh name="collision" file="shell.obj"/>
  </asset>
  <worldbody>{bodies}</worldbody>
</mujoco>"""
BODY = """<body name="{name}" childclass="arm">
  <inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/>
  <geom class="visual" mesh="shell" material="white"/>
  <geom class="visual" mesh="cover" rgba="0.1 0.2 0.3 1" pos="0 0 0.01"/>
  <geom class="collision" mesh="collision"/>"""


def write_model(folder: Path, entry: str, links: list[str]) -> None:
    (folder / "assets").mkdir(parents=True)
    for name in ("shell.obj", "lid.obj"):
        (folder / "assets" / name).write_text(MESH)
    bodies = "".join(BODY.format(name=name) for name in links) + "</body>" * len(links)
    (folder / f"{entry}.xml").write_text(MODEL.format(bodies=bodies))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the package takes for a checkout of Menagerie."""
    pytest.importorskip("mujoco_menagerie")
    root = tmp_path / "a folder & more"
    hand = ["hand", "left_finger", "right_finger"]
    write_model(root / "franka_emika_panda", "panda", [f"link{i}" for i in range(8)] + hand)
    write_model(root / "franka_fr3", "fr3", [f"fr3_link{i}" for i in range(8)])
    monkeypatch.setenv("MENAGERIE_ROOT", str(root))
    return root


every_robot = pytest.mark.parametrize("robot_type", ROBOTS)


@every_robot
def test_each_body_gets_the_meshes_that_are_seen(checkout: Path, robot_type: str) -> None:
    model = World(ROBOTS[robot_type], visuals="menagerie").model
    bodies = [f"link{i}" for i in range(8)] + ["hand", "leftfinger", "rightfinger"]
    for body in bodies:
        first, count = model.body(body).geomadr[0], model.body(body).geomnum[0]
        meshes = [
            i
            for i in range(first, first + count)
            if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_MESH
        ]
        assert len(meshes) == 2, body
        assert not model.geom_contype[meshes].any()
        assert not model.geom_conaffinity[meshes].any()
        np.testing.assert_allclose(model.geom_rgba[meshes[1]], [0.1, 0.2, 0.3, 1.0])
    drawn = [i for i in range(model.ngeom) if model.geom_group[i] <= 2 and model.geom_bodyid[i]]
    assert all(model.geom_type[i] == mujoco.mjtGeom.mjGEOM_MESH for i in drawn)


@every_robot
def test_an_episode_is_the_same_whatever_the_arm_looks_like(
    checkout: Path, robot_type: str
) -> None:
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (10, 4)).astype(np.float32)
    episodes = []
    for visuals in ("primitive", "menagerie"):
        env = FrankaEnv("pick_cube", robot_type, visuals=visuals)
        observations = [env.reset(seed=0)[0]]
        observations += [env.step(action)[0] for action in actions]
        episodes.append(np.array(observations))
    np.testing.assert_array_equal(*episodes)


def refusal() -> str:
    with pytest.raises(MenagerieUnavailable) as raised:
        World(visuals="menagerie")
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mujoco_menagerie", None)
    assert refusal() == "visuals 'menagerie' needs a package: pip install mujoco-menagerie"


def test_a_download_that_fails_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("MENAGERIE_BASE_URL", (tmp_path / "nowhere").as_uri())
    message = refusal()
    assert "the meshes of franka_fr3 could not be had" in message
    assert "not found" in message


def test_a_checkout_without_the_arm_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco_menagerie")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    assert "franka_fr3" in refusal()


def test_a_damaged_model_is_refused(checkout: Path) -> None:
    (checkout / "franka_fr3" / "fr3.xml").write_text("<mujoco><worldbody>")
    assert "the meshes of franka_fr3 could not be had" in refusal()
