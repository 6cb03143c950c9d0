"""What docs/line.md tells people to copy: its commands, unit, Compose file and receiver; and the files they rest on."""

import configparser
import re
import shlex
from pathlib import Path

import pytest
import yaml

from anomaly.cli import main
from anomaly.line.sinks.webhook import signed

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "line.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line
    for kind, text in BLOCKS
    if kind == ""
    for line in text.splitlines()
    if line.startswith("steer-anomaly ")
]


def block(kind):
    (found,) = [text for one, text in BLOCKS if one == kind]
    return found


def unknown_options(words):
    """Options that the command does not have."""
    group = main
    while hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    known = {name for parameter in group.params for name in parameter.opts}
    return {word for word in words if word.startswith("--")} - known


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_know_their_options(command):
    assert unknown_options(shlex.split(command)[1:]) == set()


def test_the_unit_starts_a_command_that_there_is():
    unit = configparser.ConfigParser()
    unit.optionxform = str
    unit.read_string(block("ini"))
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/bin/steer-anomaly") and unknown_options(words) == set()


def test_the_compose_file_is_unprivileged_and_starts_commands_that_there_are():
    compose = yaml.safe_load(block("yaml"))
    ours = [one for one in compose["services"].values() if one["image"] == "steer-anomaly"]
    assert len(ours) == 2
    for service in ours:
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"] == ["/tmp"]
        assert unknown_options(shlex.split(service.get("command", "serve"))) == set()
    assert compose["services"]["serve"]["ports"] == ["127.0.0.1:8000:8000"]


def test_the_dockerfile_is_unprivileged_and_starts_a_command_that_there_is():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    (command,) = [yaml.safe_load(line[4:]) for line in lines if line.startswith("CMD ")]
    assert unknown_options(command) == set()
    assert lines.index("USER line") > max(n for n, line in enumerate(lines) if line.startswith("RUN"))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in ("anomaly", "steervit", "prompts", "datasets", "train")} <= set(ignored)


def test_the_receiver_knows_our_messages_and_no_others():
    import time

    found = {}
    exec(compile(next(text for kind, text in BLOCKS if kind == "python"), "line.md", "exec"), found)
    headers = signed("id", int(time.time()), b"{}", b"key")
    assert found["is_ours"](headers, b"{}", b"key")
    assert not found["is_ours"](headers, b"{ }", b"key") and not found["is_ours"](headers, b"{}", b"other")
    old = signed("id", int(time.time()) - 1000, b"{}", b"key")
    assert not found["is_ours"](old, b"{}", b"key")
