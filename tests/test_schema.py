"""YAML as typed objects, and what is said of mistakes in it. Names that are not known get the nearest ones."""

from typing import Annotated, Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from steervit.did_you_mean import did_you_mean, unknown
from steervit.schema import STRICT, Flag, Number, Table, Whole, parse, read_yaml


@dataclass(frozen=True, config=STRICT)
class Wheel:
    size: Whole
    width: Number | None = None


@dataclass(frozen=True, config=STRICT)
class Car:
    name: str
    wheels: dict[str, Wheel]
    seats: Annotated[Whole, Field(ge=1)] = 1
    fuel: Literal["none", "petrol"] = "none"
    open: Flag = False
    doors: tuple[Whole, ...] = ()
    more: Table = Field(default_factory=dict)


GOOD = {"name": "a", "wheels": {"left": {"size": "1e3", "width": "3e-4"}}}


def test_numbers_that_yaml_reads_as_text_are_numbers_and_null_takes_away():
    car = parse(Car, {**GOOD, "doors": [1, 2.0], "more": {"a": 1, "b": None}}, "x")
    assert car == Car("a", {"left": Wheel(1000, 0.0003)}, doors=(1, 2), more={"a": 1})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nmae": "b"}, "unknown key 'nmae', did you mean name? There are: name, wheels"),
        ({"wheels": {"left": {"sise": 1}}}, "unknown key 'wheels.left.sise', did you mean size?"),
        ({"wheels": {"left": {}}}, "expected the key wheels.left.size, which is not there"),
        ({"wheels": {"left": 3}}, "expected wheels.left to be a table of keys, got 3"),
        ({"wheels": [1]}, "expected wheels to be a table of keys, got [1]"),
        ({"wheels": {"left": {"size": "big"}}}, "expected wheels.left.size to be a whole number, got 'big'"),
        ({"wheels": {"left": {"size": 1, "width": True}}}, "wheels.left.width to be a number, got True"),
        ({"seats": 0}, "expected seats to be at least 1, got 0"),
        ({"seats": 1.5}, "expected seats to be a whole number, got 1.5"),
        ({"fuel": "wood"}, "expected fuel to be one of none, petrol, got 'wood'"),
        ({"open": 1}, "expected open to be true or false, got 1"),
        ({"doors": 3}, "expected doors to be a list, got 3"),
        ({"doors": [1, "x"]}, "expected doors[1] to be a whole number, got 'x'"),
        ({"name": 3}, "expected name to be text, got 3"),
        ({"more": 3}, "expected more to be a table of keys, got 3"),
    ],
)
def test_mistakes_are_named(change, says):
    with pytest.raises(ValueError) as error:
        parse(Car, {**GOOD, **change}, "car.yaml")
    assert str(error.value).startswith("car.yaml: ") and says in str(error.value)


@pytest.mark.parametrize(("text", "says"), [("a: [", "not readable YAML"), ("- a", "found a list")])
def test_files_that_are_no_tables(tmp_path, text, says):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"x\.yaml.*{says}"):
        read_yaml(tmp_path / "x.yaml")


def test_the_nearest_names_end_the_sentence():
    assert did_you_mean("botle", ["bottle", "wood"]) == ", did you mean bottle?"
    assert did_you_mean("zzz", ["bottle"]) == "."
    assert unknown("set", "x", []) == "no set called 'x'. There are: none"
