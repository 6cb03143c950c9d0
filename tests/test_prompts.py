"""Prompt sets: what ships says nothing twice, own files are read, and mistakes in them are named."""

import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from anomaly import prompts
from anomaly.commands.prompts import prompts as command
from anomaly.errors import SteerAnomalyError
from anomaly.resources import files


@pytest.mark.parametrize("name", prompts.names())
def test_shipped_sets_are_documented_and_say_nothing_twice(name):
    found = prompts.load(name)
    assert found.name == name and found.description and found.source
    texts = [*found.fill("metal_nut"), *found.fill_contrast("metal_nut")]
    assert len({text.casefold() for text in texts}) == len(texts)
    assert found.without_object == ()
    for text in texts:
        assert "metal nut" in text and "{" not in text and text == " ".join(text.split())


def test_no_two_sets_are_the_same():
    sets = [prompts.load(name) for name in prompts.names()]
    assert len({(frozenset(found.prompts), frozenset(found.contrast)) for found in sets}) == len(sets)


def test_default_is_the_papers_sentence_first_and_ten():
    assert prompts.names()[0] == "default"
    found = prompts.load("default")
    assert found.fill("bottle")[0] == "the anomaly in the bottle"
    assert len(found.prompts) == 10 and found.contrast == ()
    assert prompts.load("single").fill("bottle") == ["the anomaly in the bottle"]


def test_contrast_sets_subtract_the_part():
    for name, base in (("contrast", "default"), ("contrast-single", "single")):
        assert prompts.load(name).fill_contrast("bottle") == ["the bottle"]
        assert prompts.load(name).prompts == prompts.load(base).prompts
    both = prompts.load("compositional-contrast")
    assert both.prompts == prompts.load("compositional").prompts
    assert "the flawless bottle" in both.fill_contrast("bottle")


def test_composition_is_every_state_in_every_template():
    content = yaml.safe_load(files("prompts")["compositional"].read_text())
    found = prompts.load("compositional")
    assert len(found.prompts) == len(content["states"]) * len(content["templates"]) == 24
    assert {"the damaged {object}", "a photo of the {object} with a flaw"} <= set(found.prompts)


def test_composed_prompts_come_once(tmp_path):
    (tmp_path / "x.yaml").write_text("states: ['bad {object}', 'bad {object}']\ntemplates: ['the {state}']\n")
    assert prompts.load(tmp_path / "x.yaml").prompts == ("the bad {object}",)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("metal_nut", "metal nut"),
        ("PCB1", "printed circuit board"),
        ("pcb4", "printed circuit board"),
        ("macaroni2", "macaroni"),
        ("chewinggum", "chewing gum"),
        ("pipe_fryum", "pipe fryum"),
        ("bracket black", "bracket"),
        ("  Käse  Würfel ", "Käse Würfel"),
        ("bottle", "bottle"),
    ],
)
def test_object_names(name, called):
    assert prompts.object_name(name) == called
    assert prompts.object_name(called) == called
    assert prompts.load("single").fill(name) == [f"the anomaly in the {called}"]


def test_aliases_are_no_set():
    assert "aliases" not in prompts.names()
    with pytest.raises(SteerAnomalyError, match="no prompt set called 'aliases'"):
        prompts.load("aliases")


@pytest.mark.parametrize("name", ["", "  ", "_"])
def test_an_empty_object_is_refused(name):
    with pytest.raises(SteerAnomalyError, match="the name of a part"):
        prompts.load("default").fill(name)


def test_braces_in_an_object_name_are_just_text():
    assert prompts.load("single").fill("{object} {0}") == ["the anomaly in the {object} {0}"]


def test_own_files(tmp_path):
    text = tmp_path / "mine.txt"
    text.write_bytes("\ufeff# my own\r\n\r\nthe Riß in the {object}\r\nthe  scratch\r\n".encode())
    found = prompts.load(text)
    assert found.name == "mine" and found.prompts == ("the Riß in the {object}", "the scratch")
    assert found.without_object == ("the scratch",)
    own = tmp_path / "own.yaml"
    own.write_text("from: default\nprompts: ['the dent in the {object}']\ncontrast: ['the {object}']\n")
    found = prompts.load(str(own))
    assert len(found.prompts) == 11 and found.fill_contrast("cog") == ["the cog"]


def test_given_texts():
    found = prompts.from_texts(["the scratch on the {object}", "the dent"])
    assert found.fill("metal_nut") == ["the scratch on the metal nut", "the dent"] and found.name == "given"
    with pytest.raises(SteerAnomalyError, match="at least one prompt"):
        prompts.from_texts([])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("prompts: [a, a]", "'a' is there twice"),
        ("prompts: []", "at least one prompt"),
        ("prompts: ['']", "no empty ones"),
        ("prompts: the crack", "expected prompts to be a list, got 'the crack'"),
        ("prompts: [{object: 1}]", r"expected prompts\[0\] to be text, got {'object': 1}"),
        ("prompts: [the crack: in it]", r"prompts\[0\] to be text, got .*quotes"),
        ("prompt: [a]", "unknown key 'prompt', did you mean prompts"),
        ("form: default", "unknown key 'form', did you mean from"),
        ("contrast: the part", "expected contrast to be a table of keys, got 'the part'"),
        ("prompts: ['the crack in the {}']", r"\{\} in .* write \{object\}"),
        ("prompts: ['the {obj}']", r"\{obj\} in 'the \{obj\}' is unknown"),
        ("states: ['bad {object}']", "belong together"),
        ("states: ['bad {object}']\ntemplates: ['the thing']", r"has no \{state\}"),
        (
            "prompts: [a]\ncontrast: {word: [b]}",
            "unknown key 'contrast.word'.*There are: prompts, states, templates",
        ),
        ("from: nothing", "names no shipped set: no set called 'nothing'.*There are: default"),
        ("- a\n- b", "found a list"),
        ("prompts: [a", "not readable YAML"),
        ("", "found a NoneType"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, content, says):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(SteerAnomalyError, match=says) as error:
        prompts.load(path)
    assert str(path) in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.txt").write_bytes("der Ri\xdf".encode("latin-1"))
    with pytest.raises(SteerAnomalyError, match="save it as UTF-8"):
        prompts.load(tmp_path / "latin.txt")
    for missing in (tmp_path / "no.yaml", "no.txt", tmp_path / "no"):
        with pytest.raises(SteerAnomalyError, match=r"no prompt file .*default"):
            prompts.load(missing)


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(
        SteerAnomalyError, match=r"no prompt set called 'contarst', did you mean contrast.*textile"
    ):
        prompts.load("contarst")


def test_the_command_lists_and_shows():
    listed = CliRunner().invoke(command, ["list"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.output.split("\n\n")[0].splitlines()] == prompts.names()
    shown = CliRunner().invoke(command, ["show", "contrast", "--object", "pcb1"])
    assert "\nthe anomaly in the printed circuit board\n" in shown.output
    assert "\n- the printed circuit board\n" in shown.output
    assert "{object}" in CliRunner().invoke(command, ["show", "default"]).output


def test_what_is_shown_can_be_saved_and_used(tmp_path):
    # Comments and prompts are laid out as a text file of one's own would be.
    shown = CliRunner().invoke(command, ["show", "surface"])
    (tmp_path / "copy.txt").write_text(shown.stdout)
    assert prompts.load(tmp_path / "copy.txt").prompts == prompts.load("surface").prompts


def test_the_command_tells_of_prompts_without_the_part(tmp_path):
    (tmp_path / "x.txt").write_text("the scratch\n")
    shown = CliRunner().invoke(command, ["show", str(tmp_path / "x.txt")])
    assert shown.exit_code == 0 and "1 of these do not mention {object}" in shown.stderr


def test_help_is_light():
    code = "import sys, anomaly.commands.prompts; print({'torch', 'yaml', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr
