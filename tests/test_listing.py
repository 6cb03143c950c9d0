"""Every command that lists something does so for programs, too."""

import json

import pytest
from click.testing import CliRunner

from anomaly import prompts, resources
from anomaly.cli import main
from anomaly.testsets import cards


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("prompts", set(prompts.names())),
        ("datasets", set(cards.names())),
        ("train", set(resources.files("train"))),
    ],
)
def test_lists_as_json(command, names):
    done = CliRunner().invoke(main, [command, "list", "--json"])
    assert done.exit_code == 0, done.output
    entries = json.loads(done.output)
    assert {entry["name"] for entry in entries} == names
    assert all(entry.keys() == entries[0].keys() for entry in entries)


def test_every_list_has_it():
    lists = [
        group.commands["list"] for group in main.commands.values() if "list" in getattr(group, "commands", {})
    ]
    assert len(lists) >= 4
    assert all("--json" in {name for parameter in one.params for name in parameter.opts} for one in lists)
