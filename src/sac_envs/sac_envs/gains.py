"""Gains of the robot's controllers: of config/controllers.yaml, and of the simulated robot's laws.

A file of its own, because who commands a robot needs to know them, and no simulator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of joint trajectory control on effort, as Franka's MoveIt configuration has them (and CRISP).
JOINT_STIFFNESS = np.array([600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0])  # N·m/rad
JOINT_DAMPING = np.array([30.0, 30.0, 30.0, 30.0, 10.0, 10.0, 5.0])  # N·m·s/rad


@dataclass(frozen=True)
class CartesianGains:
    """Gains of Cartesian impedance; names and meaning as in CRISP's controller.

    The stiffness is half of SERL's (2000 N/m), its error clip ten times CRISP's careful preset: at
    most 60 N at the tool.
    """

    k_pos: float = 1200.0  # N/m
    k_rot: float = 40.0  # N·m/rad
    damping_ratio: float = 1.2  # times 2 √k, the damping of a unit mass
    clip_pos: float = 0.05  # m, largest position error that counts, per axis
    clip_rot: float = 0.3  # rad
    k_null: float = 10.0  # N·m/rad, posture
    d_null: float = 4.0  # N·m·s/rad
    torque_rate: float = 900.0  # N·m/s; the robot stops at 1000

    @property
    def d_pos(self) -> float:
        """Damping in N·s/m."""
        return float(2.0 * self.damping_ratio * np.sqrt(self.k_pos))

    @property
    def d_rot(self) -> float:
        """Damping in N·m·s/rad; rotational inertia is far below that of a unit mass."""
        return float(0.8 * self.damping_ratio * np.sqrt(self.k_rot))

    @property
    def lag(self) -> float:
        """s by which an arm that moves evenly is behind its target: damping over stiffness."""
        return self.d_pos / self.k_pos
