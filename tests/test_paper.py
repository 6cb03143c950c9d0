"""The commands in docs/paper.md exist with the options shown, and its figures are those of the cards."""

import re
import shlex
from pathlib import Path

import pytest

from anomaly.cli import main
from anomaly.commands.steerability import STEERED
from anomaly.resources import files
from anomaly.testsets.cards import load

PAGE = (Path(__file__).parent.parent / "docs" / "paper.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(steer-anomaly [^`]+)`", PAGE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_know_their_options_and_names(line):
    name, *words = shlex.split(line)[1:]
    command = main.commands[name]
    if name == "eval":
        assert words[0] in {*STEERED, "mvtec", "visa", "folder"}
        command = STEERED.get(words[0], command)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    elif name == "train":
        assert words[0] == "list" or words[0] in files("train")


@pytest.mark.parametrize("name", STEERED)
def test_every_benchmark_has_a_command_and_the_figures_of_its_card(name):
    assert any(line.startswith(f"steer-anomaly eval {name} ") for line in COMMANDS)
    for row in load(name).published:
        if "another" not in row.setting:
            assert all(str(value) in PAGE for value in row.values.values())
