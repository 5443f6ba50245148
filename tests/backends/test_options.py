"""Options come typed or as text, and a wrong one is named with the choices."""

from dataclasses import dataclass
from typing import Literal

import pytest

from backends.contract import OptionError
from backends.options import describe_options, options_json, parse_options


@dataclass(frozen=True)
class Options:
    threads: int = 0
    fp16: bool = False
    scale: float = 1.0
    level: Literal["off", "on"] = "on"
    note: str = ""

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ValueError("threads: expected 0 or more")


def test_text_and_typed_values_give_the_same_options():
    text = {"threads": "2", "fp16": "true", "scale": "0.5", "level": "off", "note": "x"}
    typed = {"threads": 2, "fp16": True, "scale": 0.5, "level": "off", "note": "x"}
    assert parse_options(Options, text, "some") == parse_options(Options, typed, "some")


def test_options_survive_json():
    options = Options(threads=3, level="off")
    assert parse_options(Options, options_json(options), "some") == options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fp15": "1"}, r"option 'fp15' of some: expected one of threads: int = 0, fp16: bool"),
        ({"threads": "two"}, "option 'threads' of some: expected int, got 'two'"),
        ({"threads": 1.5}, "option 'threads' of some: expected int, got 1.5"),
        ({"threads": True}, "option 'threads' of some: expected int, got True"),
        ({"fp16": "yes"}, "option 'fp16' of some: expected bool, got 'yes'"),
        ({"fp16": 1}, "option 'fp16' of some: expected bool, got 1"),
        ({"level": "high"}, r"option 'level' of some: expected off\|on, got 'high'"),
        ({"note": 3}, "option 'note' of some: expected str, got 3"),
        ({"threads": -1}, "options of some: threads: expected 0 or more"),
    ],
)
def test_a_wrong_option_is_refused(given, message):
    with pytest.raises(OptionError, match=message):
        parse_options(Options, given, "some")


def test_the_description_has_types_and_defaults():
    assert "level: off|on = on" in describe_options(Options)
