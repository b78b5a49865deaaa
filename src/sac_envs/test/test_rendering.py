"""Pictures and videos. Where there is no OpenGL, the refusal alone is tested."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import imageio.v2 as imageio
import numpy as np
import pytest

import sac_envs  # noqa: F401  (registers the environments)
from sac_envs.rendering import Image, Renderer, RenderingUnavailable, write_video
from sac_envs.robots import FR3, HOME
from sac_envs.task import Pose
from sac_envs.tasks.pick_cube import PickCube
from sac_envs.world import World


@pytest.fixture
def world() -> World:
    return World(FR3, PickCube.objects)


def renderer_of(world: World, *args: object, **options: object) -> Renderer:
    try:
        return Renderer(world, *args, **options)  # type: ignore[arg-type]
    except RenderingUnavailable as error:
        pytest.skip(str(error))


def red_pixels(picture: Image) -> np.ndarray:
    """Rows and columns `(N, 2)` of what is as red as the cube."""
    red, green, blue = (picture[..., i].astype(int) for i in range(3))
    return np.argwhere((red > 100) & (green < red // 2) & (blue < red // 2))


@pytest.mark.parametrize("size", [(640, 480), (160, 120), (1300, 1000)])
def test_a_picture_has_the_size_asked_for_and_shows_the_cube(
    world: World, size: tuple[int, int]
) -> None:
    renderer = renderer_of(world, *size)
    picture = renderer.render()
    renderer.close()
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8
    assert len(red_pixels(picture)) > size[0] * size[1] / 3000
    assert picture.std() > 20.0


def test_the_cube_moves_in_the_picture_as_it_does_in_the_world(world: World) -> None:
    renderer = renderer_of(world)
    places = []
    for y, z in ((-0.15, 0.02), (0.15, 0.02), (0.15, 0.30)):
        world.reset(np.array(HOME), 0.08, {"cube": Pose(np.array([0.5, y, z]))})
        places.append(red_pixels(renderer.render()).mean(axis=0))
    renderer.close()
    right, left, raised = places
    assert left[1] > right[1] + 50  # the camera looks from the robot's right, in front
    assert raised[0] < left[0] - 50  # rows count from the top


def test_every_corner_of_the_task_is_in_the_picture(world: World) -> None:
    renderer = renderer_of(world, 320, 240)
    for x in (0.42, 0.64):
        for y in (-0.20, 0.20):
            for z in (0.02, 0.25):
                world.reset(np.array(HOME), 0.08, {"cube": Pose(np.array([x, y, z]))})
                places = red_pixels(renderer.render())
                assert len(places) > 10
                assert places.min() > 0
                assert np.all(places.max(axis=0) < (239, 319))
    renderer.close()


def test_pictures_are_the_caller_s(world: World) -> None:
    renderer = renderer_of(world, 160, 120)
    first = renderer.render()
    kept = first.copy()
    world.reset(np.array(HOME) + 0.2, 0.08, {})
    assert not np.array_equal(renderer.render(), first)
    np.testing.assert_array_equal(first, kept)
    renderer.close()


def test_a_fine_picture_has_shadows(world: World) -> None:
    plain, fine = renderer_of(world, 320, 240), renderer_of(world, 320, 240, fine=True)
    assert plain.render().mean() > fine.render().mean() + 1.0
    plain.close()
    fine.close()


def test_a_closed_renderer_says_so(world: World) -> None:
    renderer = renderer_of(world, 160, 120)
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeError, match="closed"):
        renderer.render()


def test_a_picture_without_pixels_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="0 by 480"):
        Renderer(world, 0, 480)


def test_the_environment_renders_without_changing_the_episode() -> None:
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 4)).astype(np.float32)
    seen = []
    for looking in (False, True):
        env = gymnasium.make("SacFranka/PickCube-v0", render_mode="rgb_array")
        env.reset(seed=0)
        for action in actions:
            observation, *_ = env.step(action)
            if looking:
                try:
                    picture = env.render()
                except RenderingUnavailable as error:
                    pytest.skip(str(error))
                assert isinstance(picture, np.ndarray)
                assert picture.shape == (480, 640, 3)
        env.close()
        seen.append(observation)
    np.testing.assert_array_equal(*seen)


# Runs in a process of its own: PyOpenGL settles on a library once.
WITHOUT = """
import ctypes
from sac_envs.rendering import Renderer, RenderingUnavailable
from sac_envs.world import World

load = ctypes.CDLL.__init__

def refuse(self, name, *args, **options):
    if any(library in str(name) for library in ("EGL", "OSMesa")):
        raise OSError("no such library")
    load(self, name, *args, **options)

ctypes.CDLL.__init__ = refuse
try:
    Renderer(World())
except RenderingUnavailable as error:
    print(error)
"""


def run(code: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_opengl_one_line_says_what_to_install() -> None:
    said = run(WITHOUT)
    assert len(said.splitlines()) == 1
    assert "libegl1" in said
    assert "libosmesa6" in said


def test_rendering_that_the_user_switched_off_stays_off() -> None:
    assert run(WITHOUT, MUJOCO_GL="off") == "rendering is switched off by MUJOCO_GL=off; unset it"


def test_the_backend_that_was_chosen_is_what_other_renderers_will_use(world: World) -> None:
    renderer_of(world, 16, 16).close()
    code = (
        "import os; from sac_envs.rendering import Renderer; from sac_envs.world import World\n"
        "Renderer(World(), 16, 16); print(os.environ['MUJOCO_GL'])"
    )
    assert run(code) in ("egl", "osmesa")  # left open: closed at exit, without complaints


def frames(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[Image]:
    for i in range(count):
        yield np.full((size[1], size[0], 3), 20 * i, np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_can_be_read_back(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / "runs" / f"video{suffix}", frames(8), fps=10)
    read = imageio.mimread(path)
    assert len(read) == 8
    assert read[0].shape[:2] == (48, 64)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None, reason="imageio-ffmpeg is not installed"
)
def test_a_video_of_odd_size_is_written_too(tmp_path: Path) -> None:
    path = write_video(str(tmp_path / "video.mp4"), frames(3, (63, 47)), fps=30)
    assert path.stat().st_size > 0


def test_without_ffmpeg_a_video_becomes_a_gif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = write_video(tmp_path / "video.mp4", frames(3), fps=10)
    assert path == tmp_path / "video.gif"
    assert len(imageio.mimread(path)) == 3


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_that_fails_leaves_the_old_one(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"video{suffix}", frames(3), fps=10)
    before = path.read_bytes()

    def failing() -> Iterator[Image]:
        yield from frames(2)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        write_video(path, failing(), fps=10)
    with pytest.raises(ValueError, match="no frames"):
        write_video(path, iter(()), fps=10)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_of_unknown_kind_or_speed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.mp4 or \.gif"):
        write_video(tmp_path / "video.avi", frames(1), fps=10)
    with pytest.raises(ValueError, match="frames per second"):
        write_video(tmp_path / "video.mp4", frames(1), fps=0)
