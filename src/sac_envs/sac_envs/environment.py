"""A task in MuJoCo as a Gymnasium environment, in one process."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from sac_envs.control import CartesianImpedance
from sac_envs.gripper import Gripper
from sac_envs.robots import HOME, ROBOTS
from sac_envs.task import Float32, Gripping, Pose, RobotState, start_positions
from sac_envs.tasks import make_task
from sac_envs.world import PHYSICS_STEP, World


class FrankaEnv(gymnasium.Env[Float32, Float32]):
    """The Franka of `World` under a Cartesian impedance controller, doing a `Task`."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        task: str = "pick_cube",
        robot_type: str = "fr3",
        render_mode: str | None = None,
        physics_step: float = PHYSICS_STEP,
        visuals: str = "primitive",
    ) -> None:
        self.task = make_task(task)
        self.robot_type = robot_type
        self.render_mode = render_mode
        self.world = World(ROBOTS[robot_type], self.task.objects, physics_step, visuals)
        self._law = CartesianImpedance()
        self._gripper = Gripper(self.world)
        self._gripping = Gripping(self.task.gripper_dwell)
        self._physics_steps = round(1.0 / self.task.control_rate / physics_step)
        self._goals: dict[str, Pose] = {}
        self._steps = 0
        observations, actions = self.task.observations, self.task.actions
        self.observation_space = gymnasium.spaces.Box(
            np.array([c.low for c in observations], np.float32),
            np.array([c.high for c in observations], np.float32),
        )
        self.action_space = gymnasium.spaces.Box(
            np.array([c.low for c in actions], np.float32),
            np.array([c.high for c in actions], np.float32),
        )
        self._renderer: Any = None

    def _state(self) -> RobotState:
        world = self.world
        return RobotState(
            time=float(world.data.time),
            tool_position=world.tcp_position.copy(),
            tool_rotation=world.tcp_rotation.copy(),
            tool_velocity=world.jacobian() @ world.dq,
            gripper_width=world.width,
            gripper_closed=self._gripping.closed,
            objects=world.object_poses() | self._goals,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        super().reset(seed=seed)
        start = self.task.start(self.np_random)
        q = start_positions(self.task, start, self.robot_type)
        # Goals have no body: the simulator does not know them.
        self._goals = {name: start.objects[name] for name in self.task.goals}
        bodies = {n: pose for n, pose in start.objects.items() if n not in self._goals}
        self.world.reset(q, start.gripper_width, bodies)
        self._gripper.reset()
        self._gripping.reset(False, 0.0)
        self._law.start(self.world)
        self._law.posture = np.array(HOME)
        self._steps = 0
        return self.task.observe(self._state()), {}

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        before = self._state()
        command = self.task.command(before, action)
        self._law.set_target(command.position, command.rotation)
        if self._gripping.decide(command.close_gripper, before.time):
            if self._gripping.closed:
                self._gripper.grasp()
            else:
                self._gripper.move(self.task.open_width)
        world, law, gripper = self.world, self._law, self._gripper
        for _ in range(self._physics_steps):
            gripper.update()
            world.step(law.torques(world))
        self._steps += 1
        state = self._state()
        success = self.task.success(state)
        truncated = self._steps >= self.task.max_episode_steps and not success
        info = {"is_success": success}
        return self.task.observe(state), self.task.reward(state), success, truncated, info

    def render(self) -> Any:
        """The scene as `(480, 640, 3) uint8`."""
        if self._renderer is None:
            from sac_envs.rendering import Renderer

            self._renderer = Renderer(self.world)
        return self._renderer.render()

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
