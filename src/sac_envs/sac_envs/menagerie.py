"""The arm's looks from MuJoCo Menagerie's meshes, which its package downloads when first asked.

Only what is seen is taken: collision, inertia and control stay those of `world`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import mujoco

from sac_envs.looks import Looks, numbers

# By robot type: Menagerie's model, its entry point, and what precedes "link0" there.
_ARMS = {
    "fr3": ("franka_fr3", "fr3", "fr3_"),
    "fer": ("franka_emika_panda", "panda", ""),
}
_HAND = ("franka_emika_panda", "panda")  # the FR3's model has none
_HAND_BODIES = {"hand": "hand", "leftfinger": "left_finger", "rightfinger": "right_finger"}


class MenagerieUnavailable(RuntimeError):
    """Menagerie's meshes could not be had; the message says what to do."""


def _specification(name: str, entry: str) -> Any:
    """Menagerie's model as a `mujoco.MjSpec`, downloaded if need be."""
    try:
        import mujoco_menagerie
    except ImportError as error:
        raise MenagerieUnavailable(
            "visuals 'menagerie' needs a package: pip install mujoco-menagerie"
        ) from error
    try:
        return mujoco_menagerie.get(name).spec(entry)
    except (mujoco_menagerie.MenagerieError, OSError, ValueError) as error:
        # OSError: the cache cannot be written; ValueError: MuJoCo cannot read the files.
        reason = " ".join(str(error).split())
        raise MenagerieUnavailable(
            f"the meshes of {name} could not be had ({reason}); download them where the network "
            f"allows it ('mujoco-menagerie path {name}'), or use visuals 'primitive'"
        ) from error


def _take(specification: Any, prefix: str, bodies: dict[str, str]) -> Looks:
    """The visual geoms of `bodies` (ours by Menagerie's name), assets named with `prefix`."""
    folder = Path(specification.modelfiledir) / specification.meshdir
    meshes = {mesh.name or Path(mesh.file).stem: mesh for mesh in specification.meshes}
    materials = {material.name: material for material in specification.materials}
    shapes, used_meshes, used_materials = {}, set(), set()
    for ours, theirs in bodies.items():
        shapes[ours] = ""
        for geom in specification.body(theirs).geoms:
            # Collision shapes are meshes, too, but they collide.
            if geom.type != mujoco.mjtGeom.mjGEOM_MESH or geom.contype or geom.conaffinity:
                continue
            used_meshes.add(geom.meshname)
            look = f'rgba="{numbers(geom.rgba)}"'
            if geom.material:
                used_materials.add(geom.material)
                look = f'material="{prefix}{geom.material}"'
            shapes[ours] += (
                f'<geom type="mesh" mesh="{prefix}{geom.meshname}" pos="{numbers(geom.pos)}" '
                f'quat="{numbers(geom.quat)}" class="look" {look}/>'
            )
    assets = ""
    for name in sorted(used_meshes):
        mesh = meshes[name]
        file = quoteattr(str((folder / mesh.file).resolve()))
        assets += f'<mesh name="{prefix}{name}" file={file} scale="{numbers(mesh.scale)}"/>'
    for name in sorted(used_materials):
        material = materials[name]
        assets += (
            f'<material name="{prefix}{name}" rgba="{numbers(material.rgba)}" '
            f'specular="{material.specular}" shininess="{material.shininess}"/>'
        )
    return Looks(assets, shapes)


def menagerie_looks(robot_type: str) -> Looks:
    """Meshes of the arm and of the Franka Hand. Raises MenagerieUnavailable."""
    name, entry, prefix = _ARMS[robot_type]
    arm = _take(
        _specification(name, entry), "arm_", {f"link{i}": f"{prefix}link{i}" for i in range(8)}
    )
    hand = _take(_specification(*_HAND), "hand_", _HAND_BODIES)
    return Looks(arm.assets + hand.assets, {**arm.shapes, **hand.shapes})
