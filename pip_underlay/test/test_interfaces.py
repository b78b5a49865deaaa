"""The interface packages in this folder are upstream's, byte for byte on the wire.

`upstream.yaml` holds what upstream's files give. On a ROS host the same tests say whether the
packages installed there are those that this workspace was written for.
"""

from __future__ import annotations

import json
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ament_index_python.packages import get_package_share_directory

HERE = Path(__file__).parent
UPSTREAM = yaml.safe_load((HERE / "upstream.yaml").read_text())
INTERFACES = [
    (package, name) for package, upstream in UPSTREAM.items() for name in upstream["hashes"]
]
PARTS = {"msg": [""], "srv": [".Request", ".Response"], "action": [".Goal", ".Result", ".Feedback"]}

of_each_interface = pytest.mark.parametrize(
    ("package", "name"), INTERFACES, ids=["/".join(interface) for interface in INTERFACES]
)


def values_in_python(package: str, part: str) -> dict[str, Any]:
    """Constants and default values of one message, or of one part of a service or an action."""
    kind, name = part.split("/")
    # The generator makes them properties of the class, which puts them into its metaclass.
    message = attrgetter(name)(import_module(f"{package}.{kind}"))
    return {
        value: getattr(message, value)
        for value in dir(type(message))
        if value.isupper() and not value.startswith("_")
    }


def test_the_table_names_every_interface_of_this_folder() -> None:
    sources = {
        (source.parent.parent.name, f"{source.parent.name}/{source.stem}")
        for kind in PARTS
        for source in HERE.parent.glob(f"*/{kind}/*.{kind}")
    }
    assert sources == set(INTERFACES)


@of_each_interface
def test_names_types_and_order_of_the_fields_are_upstreams(package: str, name: str) -> None:
    description = Path(get_package_share_directory(package), f"{name}.json")
    hashes = {
        entry["type_name"]: entry["hash_string"]
        for entry in json.loads(description.read_text())["type_hashes"]
    }
    upstream = UPSTREAM[package]
    assert hashes[f"{package}/{name}"] == upstream["hashes"][name], (
        f"{package}/{name} is not that of {upstream['repository']} {upstream['version']}"
    )


@of_each_interface
def test_constants_and_default_values_are_upstreams(package: str, name: str) -> None:
    expected = UPSTREAM[package].get("values", {})
    for suffix in PARTS[name.split("/")[0]]:
        part = name + suffix
        assert values_in_python(package, part) == expected.get(part, {}), part
