"""SROS 2 in the launch files: with `security:=true` every node runs in its enclave, or none starts.

docs/security.md is the guide; config/security/ says what each enclave may do.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext

# What an RMW reads of an enclave (rmw_dds_common/src/security.cpp).
FILES = (
    "identity_ca.cert.pem",
    "cert.pem",
    "key.pem",
    "permissions_ca.cert.pem",
    "governance.p7s",
    "permissions.p7s",
)
PERMISSIONS = "permissions.p7s"  # the policy, signed
# What it says after `ros2 security create_enclave` without a policy: publish whatever you like.
EVERY_TOPIC = re.compile(r"<publish>(?:(?!</publish>).)*<topic>rt/\*</topic>", re.DOTALL)
START_A_NODE = """
import sys
import rclpy
from rclpy.parameter import Parameter
rclpy.init(args=["--ros-args", "--enclave", sys.argv[1]])
rclpy.create_node(
    "security_check",
    enable_rosout=False,
    start_parameter_services=False,
    parameter_overrides=[Parameter("start_type_description_service", value=False)],
)
"""  # without any service: none of that name is allowed in the enclave
DOMAIN = re.compile(r"<id>(\d+)</id>")  # in permissions: they hold for these domains
PATIENCE = 30.0  # s that starting a node may take


def arguments() -> list[DeclareLaunchArgument]:
    """The launch arguments; their defaults are what `ros2 security` users have in the environment.

    So nodes that the environment wants secured are never started without the checks.
    """
    return [
        DeclareLaunchArgument(
            "security",
            default_value=EnvironmentVariable("ROS_SECURITY_ENABLE", default_value="false"),
            description="true: every node runs in its SROS 2 enclave, or none (docs/security.md)",
        ),
        DeclareLaunchArgument(
            "keystore",
            default_value=EnvironmentVariable("ROS_SECURITY_KEYSTORE", default_value=""),
            description="Folder with the keys of the enclaves, for security:=true",
        ),
    ]


def enclave(name: str) -> list[str]:
    """ROS arguments that put a node into /sac/`name`; without security it is a mere label."""
    return ["--enclave", f"/sac/{name}"]


def enforced(context: LaunchContext, *names: str) -> list[SetEnvironmentVariable]:
    """What makes the nodes that follow secure, if `security` says so.

    `names` are the enclaves of the nodes to come. RuntimeError, which ends the launch with one
    line and a status that is not zero, if they would run less secured than they were asked to.
    """
    wanted = LaunchConfiguration("security").perform(context)
    if wanted not in ("true", "false", ""):
        raise RuntimeError(f"security: expected true or false, got {wanted!r}")
    if wanted != "true":
        if os.environ.get("ROS_SECURITY_ENABLE") == "true":
            raise RuntimeError(
                "security:=false, but the environment has ROS_SECURITY_ENABLE=true: "
                "unset it, or leave security:=false out"
            )
        return []
    if override := os.environ.get("ROS_SECURITY_ENCLAVE_OVERRIDE"):
        raise RuntimeError(
            f"ROS_SECURITY_ENCLAVE_OVERRIDE={override} takes every node out of its own enclave: "
            "unset it"
        )
    keystore = LaunchConfiguration("keystore").perform(context)
    policies = Path(FindPackageShare("sac_bringup").perform(context), "config", "security")
    _check_keystore(keystore, names, policies)
    folder = str(Path(keystore).expanduser().absolute())
    _check_middleware(folder, names)
    return [SetEnvironmentVariable(*variable) for variable in _environment(folder).items()]


def _environment(keystore: str) -> dict[str, str]:
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": keystore,
    }


def _check_keystore(keystore: str, names: tuple[str, ...], policies: Path) -> None:
    """Refuse a keystore whose enclaves are missing, unlimited, or for another domain."""
    if not keystore:
        raise RuntimeError(
            f"security:=true needs keystore:=<folder>; to make one: {_remedy('<folder>', policies)}"
        )
    folder = Path(keystore).expanduser() / "enclaves"
    if not folder.is_dir():
        raise RuntimeError(f"{keystore} is no keystore; to make one: {_remedy(keystore, policies)}")
    permissions = {name: folder / "sac" / name / PERMISSIONS for name in names}
    missing = [name for name, path in permissions.items() if not path.is_file()]
    if missing:
        raise RuntimeError(
            f"keystore {keystore} has no {_enclaves(missing)}; to add what is missing: "
            f"{_remedy(keystore, policies, missing)}"
        )
    texts = {name: path.read_text(errors="replace") for name, path in permissions.items()}
    without_policy = [name for name, text in texts.items() if EVERY_TOPIC.search(text)]
    if without_policy:
        raise RuntimeError(
            f"in keystore {keystore} nothing limits {_enclaves(without_policy)}; to apply the "
            f"policies: {_remedy(keystore, policies, without_policy)}"
        )
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    domains = set(DOMAIN.findall("".join(texts.values())))
    if domains and domain not in domains:
        raise RuntimeError(
            f"keystore {keystore} is for ROS_DOMAIN_ID {', '.join(sorted(domains))}, and this is "
            f"{domain}; to make one for {domain}: {_remedy('<folder>', policies)}"
        )


def _enclaves(names: Sequence[str]) -> str:
    return ", ".join(f"/sac/{name}" for name in names)


def _remedy(keystore: str, policies: Path, names: Sequence[str] = ()) -> str:
    """A command that gives enclaves their policies; one by one, as several break the tool."""
    files = [f"{policies}/{name}.policy.xml" for name in names] or [f"{policies}/*.policy.xml"]
    generate = f"ros2 security generate_artifacts -k {keystore} -p"
    if names and len(files) == 1:
        return f"{generate} {files[0]}"
    return f"for policy in {' '.join(files)}; do {generate} $policy; done"


def _check_middleware(keystore: str, names: tuple[str, ...]) -> None:
    """Start a node in each enclave, and one with forged keys, which has to fail."""
    with ThreadPoolExecutor() as pool:
        forgery = pool.submit(_refusal_of_forged_keys)
        refusals = pool.map(lambda name: _refusal(keystore, name), names)
    for name, refusal in zip(names, refusals, strict=True):
        if refusal:
            raise RuntimeError(f"security:=true, but /sac/{name} cannot have a node: {refusal}")
    if not forgery.result():
        raise RuntimeError(
            "security:=true, but the RMW lets a node with forged keys start: it has no security"
        )


@functools.cache
def _refusal_of_forged_keys() -> str:
    with tempfile.TemporaryDirectory() as keystore:
        folder = Path(keystore, "enclaves", "sac", "forged")
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text("forged\n")
        return _refusal(keystore, "forged")


@functools.cache  # launch files that include one another ask more than once
def _refusal(keystore: str, name: str) -> str:
    """Why no node starts in the enclave, in one line; empty if one does."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", START_A_NODE, f"/sac/{name}"],
            env={**os.environ, **_environment(keystore)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"it did not start within {PATIENCE:g} s"
    if run.returncode == 0:
        return ""
    reason = re.search(r"Error: (.*)", run.stderr, re.DOTALL)
    text = reason[1] if reason else run.stderr or f"exit status {run.returncode}"
    return " ".join(re.sub(r", at \S+:\d+", "", text).split())
