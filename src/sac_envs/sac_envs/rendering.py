"""Pictures and videos of a world, without a display: OpenGL through EGL, else through OSMesa."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from sac_envs.world import World

Image = NDArray[np.uint8]

OFF_SCREEN = ("egl", "osmesa")  # in the order in which they are tried; EGL may use a GPU
CAMERA = "scene"


class RenderingUnavailable(RuntimeError):
    """No OpenGL that draws off screen could be had; the message says what to install."""


def _open(backend: str, model: Any, width: int, height: int) -> tuple[Any, Any]:
    """MuJoCo's OpenGL context for `backend`, and what it draws `model` with, both current.

    Raises RenderingUnavailable when the backend does not work here.
    """
    try:
        if backend == "egl":
            from mujoco.egl import GLContext
        elif backend == "osmesa":
            from mujoco.osmesa import GLContext
        else:
            from mujoco.glfw import GLContext
        gl = GLContext(width, height)
        gl.make_current()
        return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    except (ImportError, AttributeError, OSError, RuntimeError, mujoco.FatalError) as error:
        # AttributeError: what PyOpenGL says where its library is missing.
        raise RenderingUnavailable(f"{backend}: {error}") from error
    except Exception as error:
        # PyOpenGL's own errors, by name: where it has no library, their module cannot be imported.
        if not type(error).__module__.startswith("OpenGL"):
            raise
        raise RenderingUnavailable(f"{backend}: {type(error).__name__}") from error


def _forget_opengl() -> None:
    """Unload PyOpenGL, which settles on a library when it is imported, so that another can be."""
    os.environ.pop("PYOPENGL_PLATFORM", None)
    for name in list(sys.modules):
        if name.partition(".")[0] == "OpenGL" or name.startswith(("mujoco.egl", "mujoco.osmesa")):
            del sys.modules[name]


def _open_any(model: Any, width: int, height: int) -> tuple[Any, Any]:
    """As `_open`, with the user's MUJOCO_GL, else with the first of `OFF_SCREEN` that works."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in ("disable", "disabled", "off", "false", "0"):
        raise RenderingUnavailable(f"rendering is switched off by MUJOCO_GL={chosen}; unset it")
    if chosen:
        try:
            return _open(chosen, model, width, height)
        except RenderingUnavailable as error:
            raise RenderingUnavailable(
                f"MUJOCO_GL={chosen} does not work here ({error}); unset it to have one chosen"
            ) from error
    platform_set = "PYOPENGL_PLATFORM" in os.environ
    for backend in OFF_SCREEN:
        try:
            contexts = _open(backend, model, width, height)
        except RenderingUnavailable:
            if not platform_set:
                _forget_opengl()
            continue
        # From now on this process, and those it starts, use what works.
        os.environ["MUJOCO_GL"] = backend
        return contexts
    raise RenderingUnavailable(
        "rendering needs OpenGL, and neither EGL nor OSMesa works here: "
        "apt-get install libegl1 (or libosmesa6)"
    )


class Renderer:
    """Draws the camera "scene" of a world off screen.

    `fine` adds shadows and smooth edges, which without a GPU cost most of the speed. Raises
    RenderingUnavailable when no OpenGL library is present. Render and close in one thread.
    """

    def __init__(
        self, world: World, width: int = 640, height: int = 480, fine: bool = False
    ) -> None:
        if width <= 0 or height <= 0:
            raise ValueError(f"a picture of {width} by {height} pixels: expected at least 1 by 1")
        self._model, self._data = world.model, world.data
        # Read when the context is made; a picture larger than the buffer would be cut.
        visual = self._model.vis
        visual.global_.offwidth, visual.global_.offheight = width, height
        visual.quality.offsamples = 4 if fine else 0
        self._gl, self._context = _open_any(self._model, width, height)
        # Left open, it would outlive the library, whose own end comes at exit.
        atexit.register(self.close)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = fine
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self._model.camera(CAMERA).id
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)

    def render(self) -> Image:
        """The scene now, `(height, width, 3) uint8`; the array is the caller's."""
        if self._gl is None:
            raise RuntimeError("this renderer is closed")
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context)
        return np.flipud(self._pixels).copy()  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Give back what the graphics library holds; a second call does nothing."""
        if self._gl is None:
            return
        atexit.unregister(self.close)
        self._gl.make_current()
        self._context.free()
        self._gl.free()
        self._gl = None


def write_video(path: str | Path, frames: Iterable[Image], fps: float) -> Path:
    """Write frames `(height, width, 3) uint8` as a video and return where it is.

    The suffix of `path` is .mp4 (H.264) or .gif. Without ffmpeg (package imageio-ffmpeg) an .mp4
    becomes a .gif of the same name. The file appears complete or not at all. Raises ValueError for
    another suffix, no frames or an fps that is not positive.
    """
    import imageio.v2 as imageio

    path = Path(path)
    if path.suffix not in (".mp4", ".gif"):
        raise ValueError(f"video {path}: expected a name that ends in .mp4 or .gif")
    if not fps > 0:
        raise ValueError(f"video {path}: {fps} frames per second: expected more than 0")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        path = path.with_suffix(".gif")
    if path.suffix == ".mp4":
        # H.264 wants even sides; imageio would enlarge to multiples of 16 by default.
        options: Any = {"format": "FFMPEG", "fps": fps, "codec": "libx264", "macro_block_size": 2}
    else:
        options = {"format": "GIF", "duration": 1000.0 / fps, "loop": 0}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        written = 0
        writer: Any = imageio.get_writer(unfinished, **options)
        with writer:
            for frame in frames:
                writer.append_data(frame)
                written += 1
        if written == 0:
            raise ValueError(f"video {path}: there are no frames")
        unfinished.replace(path)
    return path
