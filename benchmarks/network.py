"""Two hosts on one machine: network namespaces joined by a link that can fail.

The link is a TAP device in each namespace and a thread that carries Ethernet frames between them,
late or not at all as it is told. That needs no kernel module for loss and delay (`tc netem` is not
everywhere), only the right to make namespaces.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 65_536
_QUEUE = 10_000  # frames on their way at most


class NetworkUnavailable(RuntimeError):
    """This machine does not let us make namespaces; one line that says why."""


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NetworkUnavailable(f"{command[0]!r} is not installed (Debian: iproute2)") from error
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().splitlines()
        raise NetworkUnavailable(
            f"{' '.join(command)}: {why[-1] if why else error.returncode}"
        ) from error


class Link:
    """Two namespaces, 0 and 1, and the link between them; a context manager.

    `loss` (a share), `delay` (s, each way) and `up` may be set at any time.
    """

    def __init__(self) -> None:
        self.loss = 0.0
        self.delay = 0.0
        self.up = True
        self._names = [f"sac{os.getpid()}{side}" for side in "ab"]
        self._taps: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="link", daemon=True)

    def command(self, host: int) -> list[str]:
        """What to put before a command that is to run on host 0 or 1."""
        return ["ip", "netns", "exec", self._names[host]]

    def __enter__(self) -> Link:
        try:
            for host, name in enumerate(self._names):
                _run("ip", "netns", "add", name)
                self._taps.append(self._make_tap(host, name))
        except BaseException:
            self.__exit__()
            raise
        self._thread.start()
        return self

    def _make_tap(self, host: int, name: str) -> int:
        try:
            tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            request = struct.pack("16sH", f"tap{name}".encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(tap, _TUNSETIFF, request)
        except OSError as error:
            raise NetworkUnavailable(f"/dev/net/tun: {error.strerror}") from error
        device = f"tap{name}"
        _run("ip", "link", "set", device, "netns", name)
        for settings in (
            ("addr", "add", f"10.77.0.{host + 1}/24", "dev", device),
            ("link", "set", device, "up", "multicast", "on"),
            ("link", "set", "lo", "up"),
            ("route", "add", "224.0.0.0/4", "dev", device),
        ):
            _run("ip", "-n", name, *settings)
        return tap

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for tap in self._taps:
            os.close(tap)
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _carry(self) -> None:
        """Read frames on one side, and write them on the other when their time has come."""
        rng = random.Random(0)
        under_way: list[tuple[float, int, int, bytes]] = []  # due, order, to, frame
        order = 0
        while not self._stop.is_set():
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                _, _, to, frame = heapq.heappop(under_way)
                self._write(to, frame)
            patience = min(0.1, under_way[0][0] - now) if under_way else 0.1
            readable, _, _ = select.select(self._taps, [], [], max(patience, 0.0))
            for tap in readable:
                frame = os.read(tap, _FRAME)
                if not self.up or rng.random() < self.loss or len(under_way) >= _QUEUE:
                    continue
                order += 1
                to = self._taps[1] if tap == self._taps[0] else self._taps[0]
                heapq.heappush(under_way, (time.monotonic() + self.delay, order, to, frame))

    def _write(self, tap: int, frame: bytes) -> None:
        if not self.up:
            return
        with contextlib.suppress(OSError):  # a full device drops frames, as a network does
            os.write(tap, frame)
