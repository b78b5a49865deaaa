"""PyTorch on this machine: its device, its threads, its memory."""

from __future__ import annotations

import ctypes
import os

import torch

from sac_ros.parameters import UserError


def prepare(name: str, threads: int) -> torch.device:
    """The device of this name, ready to train on; `threads` 0 = as many as cores.

    Raises UserError if PyTorch cannot use it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {name!r} cannot be used: {reason}; try device:=cpu") from error
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    _keep_freed_memory()
    return device


def _keep_freed_memory() -> None:
    """Tell glibc to keep what a learner step frees (tens of MB) for the next step.

    Otherwise large tensors are mapped, zeroed and unmapped again for every operation: a fifth of
    the time of a step on the CPU. Constants from <malloc.h>; other C libraries have no mallopt.
    """
    m_trim_threshold, m_mmap_threshold, limit = -1, -3, 1 << 30
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_mmap_threshold, limit)
        mallopt(m_trim_threshold, limit)
