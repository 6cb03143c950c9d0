"""What the command makes of errors that nobody foresaw: no crash looks like "defects found"."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from anomaly import cli
from anomaly.commands import exit_codes
from anomaly.errors import SteerAnomalyError


@pytest.fixture
def failing():
    """A tool whose command raises what it is given."""

    def make(error):
        @click.group(cls=cli.Tool)
        @click.option("--debug", is_flag=True)
        def tool(debug):
            pass

        @tool.command("go")
        def go():
            raise error

        return tool

    return make


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("mat1 and mat2"), exit_codes.CRASH),
        (AssertionError(), exit_codes.CRASH),
        (MemoryError(), exit_codes.CRASH),
        (KeyboardInterrupt(), exit_codes.INTERRUPTED),
        (SteerAnomalyError("expected a bottle"), exit_codes.USAGE),
        (click.UsageError("no such option"), exit_codes.USAGE),
    ],
)
def test_only_defects_exit_with_1(failing, error, code):
    done = CliRunner().invoke(failing(error), ["go"])
    assert done.exit_code == code
    assert "Traceback" not in done.output


def test_a_crash_says_what_happened_and_how_to_report_it(failing, monkeypatch):
    tool = failing(RuntimeError("mat1 and mat2"))
    said = CliRunner().invoke(tool, ["go"]).output
    assert "RuntimeError: mat1 and mat2 (" in said and "test_cli.py" in said
    assert "report" in said and "--debug" in said
    assert "Traceback" in CliRunner().invoke(tool, ["--debug", "go"]).output
    monkeypatch.setenv(cli.DEBUG, "1")
    assert "Traceback" in CliRunner().invoke(tool, ["go"]).output


def test_a_reader_that_leaves_is_no_defect():
    code = "import sys; sys.argv[1:] = ['models', 'list']; from anomaly.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == exit_codes.INTERRUPTED, said
    assert "Traceback" not in said
