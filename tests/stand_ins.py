"""Packages that are not installed here, in an ament prefix: programs say how they were started."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from system import Program

PROGRAM = '''\
#!{python} -IS
"""Say on stderr, which a launch always shows, how it was started; then end as it is told to."""
import json, os, signal, sys
arguments = sys.argv[1:]
files = [path for flag, path in zip(arguments, arguments[1:]) if flag == "--params-file"]
said = dict(program={name!r}, arguments=arguments, files=[open(path).read() for path in files])
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("STAND-IN", json.dumps(said), file=sys.stderr, flush=True)
status = {status!r}
if status is not None:
    sys.exit(status)
while True:
    signal.pause()
'''


@dataclass(frozen=True)
class Started:
    """How a stand-in was started."""

    arguments: list[str]
    files: list[dict[str, Any]]

    @property
    def own(self) -> list[str]:
        """Its arguments without those for ROS."""
        end = self.arguments.index("--ros-args") if "--ros-args" in self.arguments else None
        return self.arguments[:end]

    @property
    def remappings(self) -> dict[str, str]:
        """The -r rules, __node and __ns among them."""
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        rules = [rule.split(":=", 1) for flag, rule in pairs if flag == "-r"]
        return {source: target for source, target in rules}

    @property
    def parameters(self) -> dict[str, Any]:
        """What the files say to it, whatever node name they say it to."""
        merged: dict[str, Any] = {}
        for file in self.files:
            for node in file.values():
                merged |= node.get("ros__parameters", {})
        return merged


class StandIns:
    """A prefix before all others; programs and launch files are put into it."""

    def __init__(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefix = prefix
        others = os.environ.get("AMENT_PREFIX_PATH", "")
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}{os.pathsep}{others}")

    def package(self, name: str) -> Path:
        """Make a package; its share folder."""
        index = self.prefix / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True, exist_ok=True)
        (index / name).touch()
        share = self.prefix / "share" / name
        share.mkdir(exist_ok=True)
        return share

    def program(self, package: str, executable: str, status: int | None = None) -> None:
        """Make an executable that runs until it is told to end, or ends at once with `status`."""
        self.package(package)
        path = self.prefix / "lib" / package / executable
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{package}/{executable}"
        path.write_text(PROGRAM.format(python=sys.executable, name=name, status=status))
        path.chmod(0o755)

    def launch_file(self, package: str, name: str, text: str) -> None:
        """Give a package a launch file."""
        path = self.package(package) / "launch" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def started(program: Program, name: str, timeout: float = 30.0) -> Started:
    """How the launch started the stand-in `package/executable`; the first of several."""
    return _parse(program.wait_for(rf'STAND-IN (.*"program": "{name}".*)', timeout)[1])


def all_started(program: Program, name: str) -> list[Started]:
    """Every start of it up to now."""
    lines = [line.split("STAND-IN ", 1)[1] for line in program.lines if "STAND-IN " in line]
    return [_parse(line) for line in lines if json.loads(line)["program"] == name]


def _parse(text: str) -> Started:
    said = json.loads(text)
    return Started(said["arguments"], [yaml.safe_load(file) for file in said["files"]])
