"""docs/troubleshooting.md quotes messages that the sources have, so that the page cannot rot."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from system import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
VARIES = "…"
QUOTE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def quoted(page: str) -> list[str]:
    return QUOTE.findall(page)


@cache
def messages() -> tuple[str, ...]:
    """Every text of the sources, with … for what an f-string fills in."""
    found = []
    for folder in ("src", "launch"):
        for path in (ROOT / folder).rglob("*.py"):
            if "test" in path.relative_to(ROOT).parts:
                continue
            for item in ast.walk(ast.parse(path.read_text())):
                if isinstance(item, ast.JoinedStr):
                    parts = [
                        part.value if isinstance(part, ast.Constant) else VARIES
                        for part in item.values
                    ]
                    found.append("".join(map(str, parts)))
                elif isinstance(item, ast.Constant) and isinstance(item.value, str):
                    found.append(item.value)
    return tuple(found)


def is_printed(message: str) -> bool:
    """Whether some text has all that does not vary of the message, in order."""
    pattern = re.compile(".*".join(map(re.escape, message.split(VARIES))), re.DOTALL)
    return any(pattern.search(text) for text in messages())


@pytest.mark.parametrize("message", quoted(PAGE.read_text()))
def test_a_quoted_message_is_one_that_a_node_prints(message: str) -> None:
    assert is_printed(message), f"no source says {message!r}"


def test_the_page_quotes_enough_and_nothing_twice() -> None:
    page = quoted(PAGE.read_text())
    assert len(page) > 35
    assert len(page) == len(set(page))
    for message in page:
        assert len(message.replace(VARIES, "").strip()) > 8, f"{message!r} would match anything"


@pytest.mark.parametrize(
    "message", ["no joint state on … for … days", "Episode halted: …", "no … on earth says this"]
)
def test_a_message_that_no_node_prints_would_be_found_out(message: str) -> None:
    assert not is_printed(message)
