"""What the README tells people to type works: its commands and its Python."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from anomaly.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(
    {
        line
        for kind, block in BLOCKS
        if kind == ""
        for line in block.splitlines()
        if line.startswith("steer-anomaly ")
    }
)
INLINE = sorted(set(re.findall(r"`(steer-anomaly [^`]+)`", README)))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the images that the README's examples name."""
    sample = next((ROOT / "docs" / "samples" / "parts").glob("*.jpg"))
    for folder in ("img", "camera"):
        (tmp_path / folder).mkdir()
        shutil.copy(sample, tmp_path / folder / "a.jpg")
    from PIL import Image

    Image.open(sample).save(tmp_path / "panel.tif")
    shutil.copytree(ROOT / "docs" / "samples", tmp_path / "docs" / "samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("steer-anomaly inspect")])
def test_inspect_commands_run(here, command):
    if "--profile" in command:
        some = [f"docs/samples/flanges/good/{number:02}.jpg" for number in range(1, 5)]
        options = ["--object", "bottle", "--references", "none", "--out", "bottle.profile", "--quiet"]
        assert CliRunner().invoke(main, ["calibrate", *options, *some]).exit_code == 0
    done = CliRunner().invoke(main, [*shlex.split(command)[1:], "--quiet"])
    assert done.exit_code in (0, 1, 5), done.output  # a picture of another part is unfit
    assert "report:" in done.output


@pytest.mark.parametrize("command", INLINE + [c for c in COMMANDS if " inspect " not in c])
def test_other_commands_know_their_options(command):
    words = shlex.split(command.replace("MAPS", "maps").replace("DIR", "dir"))[1:]
    group = main
    while words and hasattr(group, "commands") and words[0] in group.commands:
        group = group.commands[words.pop(0)]
    assert group is not main, f"{command}: no such command"
    if words and hasattr(
        group, "commands"
    ):  # `archive INPUTS` and `train RECIPE` are short for one of the group's
        group = group.commands[{"archive": "make", "train": "run"}[group.name]]
    known = {name for parameter in group.params for name in parameter.opts} | {"--help", "-h"}
    assert {word for word in words if word.startswith("--")} <= known


def test_archive_commands_run(here):
    for command in (one for one in re.findall(r"^steer-anomaly (?:archive|judge).*$", README, re.MULTILINE)):
        if "bottles-table" in command:
            done = CliRunner().invoke(main, shlex.split(command)[1:])
            assert done.exit_code == 0, done.output


@pytest.mark.parametrize("code", [block for kind, block in BLOCKS if kind == "python"])
def test_the_python_example_finds_the_defect_it_shows(here, code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("defect ")


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_pictures_and_links_exist():
    for target, _, place in re.findall(r"\]\(([^)#:]+)(#([^)]+))?\)", README):
        assert (ROOT / target).exists(), target
        if place:
            headings = re.findall(r"^#+ (.*)$", (ROOT / target).read_text(encoding="utf-8"), re.MULTILINE)
            assert place in {heading.lower().replace(" ", "-") for heading in headings}, (target, place)


def test_the_tree_is_the_one_on_disk():
    tree = README.split("## The tree")[1].split("```")[1]
    top = ""
    for line in tree.strip().splitlines():
        if name := re.match(r"( *)([a-z_]+)/ ", line):
            top = top if name[1] else name[2]
            assert (ROOT / (f"{top}/{name[2]}" if name[1] else top)).is_dir(), line
    for package in ("anomaly", "steervit"):
        folders = {path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
        assert all(f"  {name}/ " in tree for name in folders), folders


def test_the_files_that_contributors_are_sent_to_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b((?:\w+/)*\w+\.(?:py|yaml))\b", text))
    assert len(named) > 30
    everywhere = [
        str(path.relative_to(ROOT))
        for top in ("anomaly", "steervit", "tests")
        for path in (ROOT / top).rglob("*.*")
    ]
    for name in named - {"utils.py"}:
        if "NAME" not in name and "test_<" not in name:
            assert any(f"/{path}".endswith(f"/{name}") for path in everywhere), name
