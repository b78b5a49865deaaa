"""What the arm looks like: shapes that weigh nothing and touch nothing, by the body they are on.

The primitive ones follow the robot's outline (franka_description's meshes) with a few capsules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VISUALS = ("primitive", "menagerie")

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Looks:
    """MuJoCo XML: what goes into <asset>, and the geoms of each body by its name."""

    assets: str
    shapes: Mapping[str, str]


def numbers(values: Sequence[float]) -> str:
    """Numbers as MuJoCo XML wants them."""
    return " ".join(f"{value:.12g}" for value in values)


def _round(kind: str, material: str, start: Point, end: Point, radius: float) -> str:
    return (
        f'<geom type="{kind}" fromto="{numbers((*start, *end))}" size="{radius}" class="look" '
        f'material="{material}"/>'
    )


def _tube(start: Point, end: Point, radius: float, material: str = "white") -> str:
    """A capsule between two points."""
    return _round("capsule", material, start, end, radius)


def _disc(start: Point, end: Point, radius: float, material: str = "dark") -> str:
    """A cylinder between two points: caps and rings."""
    return _round("cylinder", material, start, end, radius)


def _box(center: Point, half: Point, material: str, roll: float = 0.0) -> str:
    return (
        f'<geom type="box" pos="{numbers(center)}" size="{numbers(half)}" euler="{roll} 0 0" '
        f'class="look" material="{material}"/>'
    )


_FINGER = (
    _box((0.0, 0.0145, 0.009), (0.0105, 0.0115, 0.009), "dark")
    + _box((0.0, 0.0165, 0.0285), (0.0085, 0.0035, 0.0140), "dark", 0.5236)
    + _box((0.0, 0.0076, 0.04525), (0.00875, 0.0076, 0.00925), "grey")
)

PRIMITIVE = Looks(
    assets="",
    shapes={
        "link0": _box((-0.045, 0.0, 0.004), (0.105, 0.085, 0.004), "grey")
        + _box((-0.07, 0.0, 0.036), (0.07, 0.07, 0.028), "white")
        + _tube((-0.045, 0.0, 0.06), (-0.03, 0.0, 0.09), 0.06)
        + _disc((0.0, 0.0, 0.0), (0.0, 0.0, 0.138), 0.07, "white"),
        "link1": _disc((0.0, 0.0, -0.192), (0.0, 0.0, -0.188), 0.056)
        + _disc((0.0, 0.0, -0.188), (0.0, 0.0, -0.12), 0.055, "white")
        + _tube((0.0, 0.0, -0.12), (0.0, -0.06, -0.01), 0.0545)
        + _disc((0.0, -0.06, 0.0), (0.0, -0.002, 0.0), 0.055, "white")
        + _tube((0.0, -0.074, 0.0), (0.0, -0.06, 0.0), 0.055),
        "link2": _disc((0.0, 0.0, -0.002), (0.0, 0.0, 0.002), 0.0535)
        + _disc((0.0, 0.0, 0.002), (0.0, 0.0, 0.06), 0.055, "white")
        + _tube((0.0, 0.0, 0.06), (0.0, 0.0, 0.074), 0.055)
        + _tube((0.0, -0.01, 0.06), (0.0, -0.12, 0.0), 0.0545)
        + _disc((0.0, -0.12, 0.0), (0.0, -0.193, 0.0), 0.055, "white"),
        "link3": _disc((0.0, 0.0, -0.123), (0.0, 0.0, -0.119), 0.056)
        + _disc((0.0, 0.0, -0.119), (0.0, 0.0, -0.075), 0.055, "white")
        + _tube((0.0, 0.0, -0.07), (0.06, 0.035, -0.012), 0.050)
        + _disc((0.0825, 0.002, 0.0), (0.0825, 0.085, 0.0), 0.055)
        + _disc((0.0825, 0.085, 0.0), (0.0825, 0.108, 0.0), 0.043, "white"),
        "link4": _disc((0.0, 0.0, 0.002), (0.0, 0.0, 0.085), 0.055)
        + _disc((0.0, 0.0, 0.085), (0.0, 0.0, 0.108), 0.043, "white")
        + _tube((-0.02, 0.01, 0.045), (-0.0825, 0.075, 0.0), 0.050)
        + _disc((-0.0825, 0.075, 0.0), (-0.0825, 0.122, 0.0), 0.055, "white"),
        "link5": _disc((0.0, 0.0, -0.262), (0.0, 0.0, -0.258), 0.056)
        + _disc((0.0, 0.0, -0.258), (0.0, 0.0, -0.225), 0.055, "white")
        + _tube((0.0, 0.0, -0.22), (0.0, 0.05, -0.16), 0.050)
        + _tube((0.0, 0.055, -0.16), (0.0, 0.08, -0.03), 0.038)
        + _disc((0.0, 0.02, 0.0), (0.0, 0.105, 0.0), 0.050, "white")
        + _disc((0.0, 0.105, 0.0), (0.0, 0.125, 0.0), 0.038),
        "link6": _disc((0.0, 0.0, -0.014), (0.0, 0.0, 0.048), 0.047)
        + _disc((0.0, 0.0, 0.048), (0.0, 0.0, 0.054), 0.036, "white")
        + _tube((0.02, 0.005, 0.015), (0.075, 0.02, 0.0), 0.040)
        + _disc((0.088, -0.051, 0.0), (0.088, 0.066, 0.0), 0.046, "white")
        + _disc((0.088, 0.066, 0.0), (0.088, 0.074, 0.0), 0.038),
        "link7": _disc((0.0, 0.0, 0.049), (0.0, 0.0, 0.054), 0.042)
        + _disc((0.0, 0.0, 0.054), (0.0, 0.0, 0.094), 0.044, "white")
        + _tube((0.015, 0.015, 0.081), (0.05, 0.05, 0.081), 0.0125)
        + _disc((0.0, 0.0, 0.094), (0.0, 0.0, 0.107), 0.032, "grey"),
        "hand": _box((0.0, 0.0, 0.027), (0.0315, 0.1, 0.027), "white")
        + _box((0.0, 0.0, 0.060), (0.020, 0.092, 0.006), "dark"),
        "leftfinger": _FINGER,
        "rightfinger": _FINGER,
    },
)
