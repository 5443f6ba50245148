"""The text of a ``.param`` file as plain data, parsed more strictly than ncnn's own parser does.

ncnn reads words and ignores line ends, so one text could mean two nets. What is accepted here has
one meaning, in which this module and ncnn agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backends.contract import EngineError

MAGIC = "7767517"
CONVERT_AGAIN = "Convert again."
INT32 = range(-(2**31), 2**31)
PARAMETER_IDS = range(32)  # NCNN_MAX_PARAM_COUNT

_MAX_LAYERS = 1 << 14  # ncnn computes a chain by recursion: twice as many overflow its stack
_MAX_BLOBS = 1 << 16
_MAX_LINE = 1 << 18
_MAX_WORD = 255  # bytes, as in the parser's "%255s"
_MAX_NUMBER = 15  # characters, as in its "%15[^,\n ]"
_MAX_TEXT = 240
_MAX_ARRAY = 1 << 12
_OLD_ARRAY = -23300  # "-23303=2,1,2" is an array with the id 3; its length comes first

_KIND = re.compile(r"[A-Za-z][\w.]*", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,9}")
_PARAMETER = re.compile(r"(-?[0-9]{1,5})=(.+)")
_SHORT_INTEGER = re.compile(r"([0-9]{1,2})=(-?[0-9]{1,9})")  # a fast path: most parameters
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
_TEXT = re.compile(r'"([^",][^"]*)"|([A-Za-z][^"]*)')

Scalar = int | float
Value = Scalar | str | tuple[Scalar, ...]


class LayerError(EngineError):
    """A layer of a net that is not as pnnx would write it.

    Attributes:
        kind: ncnn's name of the operator.
        reason: what is wrong with it, without the layer's name and without what to do.
    """

    def __init__(self, kind: str, name: str, what: str, expected: str, got: str) -> None:
        where = f"ncnn layer '{name}' ({kind}): {what}"
        super().__init__(where, expected=expected, got=got, do=CONVERT_AGAIN)
        self.kind = kind
        self.reason = f"{what}: expected {expected}, got {got}"


@dataclass(frozen=True)
class Layer:
    """One line of the file.

    Attributes:
        kind: ncnn's name of the operator.
        name: of the layer.
        bottoms: names of the blobs that it reads.
        tops: names of the blobs that it writes.
        params: its parameters by their id.
    """

    kind: str
    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: Mapping[int, Value]

    def integer(self, key: int, default: int = 0) -> int:
        """An integer parameter."""
        value = self.params.get(key, default)
        if not isinstance(value, int):
            raise self.fault(f"parameter {key}", "an integer", repr(value))
        return value

    def number(self, key: int, default: float) -> float:
        """A float parameter; ncnn reads the bits of an integer as those of a float near 0."""
        value = self.params.get(key, default)
        return value if isinstance(value, float) else 0.0

    def integers(self, key: int) -> tuple[int, ...]:
        """A parameter that is an array of integers; empty where it is absent or no array."""
        value = self.params.get(key)
        if not isinstance(value, tuple):
            return ()
        integers = tuple(item for item in value if isinstance(item, int))
        if len(integers) != len(value):
            raise self.fault(f"parameter {key}", "integers", str(value))
        return integers

    def text(self, key: int) -> str:
        """A text parameter; empty where it is absent or no text."""
        value = self.params.get(key)
        return value if isinstance(value, str) else ""

    def fault(self, what: str, expected: str, got: object) -> EngineError:
        """The error that names this layer."""
        return LayerError(self.kind, self.name, what, expected, str(got))


@dataclass(frozen=True)
class Net:
    """A parsed file: its layers in order, and the number of blobs that its second line states."""

    layers: tuple[Layer, ...]
    blobs: int


def parse(text: str, file: str) -> Net:
    """Parse the text of the ``.param`` file called ``file``.

    Raises:
        EngineError: wrong magic, a count that is wrong or too large, or a line, word or number
            that is not in the form that pnnx writes.
    """
    lines = text.removesuffix("\n").split("\n")
    if lines[0].strip(" ") != MAGIC:
        raise file_error(file, f"ncnn's magic {MAGIC}", repr(lines[0][:20]))
    counts = lines[1].split() if len(lines) > 1 else []
    if len(counts) != 2 or not all(map(_COUNT.fullmatch, counts)):
        raise file_error(file, "two counts in line 2", repr(" ".join(counts)[:40]))
    layers, blobs = map(int, counts)
    if not (1 <= layers <= _MAX_LAYERS and 1 <= blobs <= _MAX_BLOBS):
        expected = f"1 to {_MAX_LAYERS} layers and 1 to {_MAX_BLOBS} blobs"
        raise file_error(file, expected, f"{layers} and {blobs}")
    if len(lines) != layers + 2:
        raise file_error(file, f"{layers} layers, a line for each", f"{len(lines) - 2} lines")
    if not text.replace("\n", "").isprintable():
        raise file_error(file, "printable text", "control characters")
    numbered = enumerate(lines[2:], start=3)
    return Net(tuple(_layer(line, f"{file}, line {number}") for number, line in numbered), blobs)


def file_error(where: str, expected: str, got: str) -> EngineError:
    """The error that names a file, or a line of it."""
    return EngineError(f"'{where}'", expected=expected, got=got, do=CONVERT_AGAIN)


def _layer(line: str, where: str) -> Layer:
    if len(line) > _MAX_LINE:
        raise file_error(where, f"at most {_MAX_LINE} characters", str(len(line)))
    words = [word for word in line.split(" ") if word]
    if len(words) < 4 or not _KIND.fullmatch(words[0]):
        raise file_error(where, "a layer's kind, name and two counts", repr(line[:60]))
    if not (_COUNT.fullmatch(words[2]) and _COUNT.fullmatch(words[3])):
        raise file_error(where, "the counts of bottoms and tops", repr(" ".join(words[2:4])[:40]))
    first_top = 4 + int(words[2])
    first_param = first_top + int(words[3])
    if len(words) < first_param:
        raise file_error(where, f"{first_param - 4} blobs", f"{len(words) - 4} words")
    _check_word_lengths(words[:first_param], where)
    parameters = [_parameter(word, where) for word in words[first_param:]]
    params = dict(parameters)
    if len(params) != len(parameters):
        raise file_error(where, "each parameter once", " ".join(words[first_param:])[:60])
    bottoms, tops = tuple(words[4:first_top]), tuple(words[first_top:first_param])
    return Layer(words[0], words[1], bottoms, tops, params)


def _check_word_lengths(words: list[str], where: str) -> None:
    longest = max(words, key=len)
    if len(longest) * 4 <= _MAX_WORD:  # a character has at most 4 bytes
        return
    if any(len(word.encode()) > _MAX_WORD for word in words):
        raise file_error(where, f"words of at most {_MAX_WORD} bytes", repr(longest[:40]))


def _parameter(word: str, where: str) -> tuple[int, Value]:
    if (short := _SHORT_INTEGER.fullmatch(word)) and int(short[1]) in PARAMETER_IDS:
        return int(short[1]), int(short[2])
    match = _PARAMETER.fullmatch(word)
    if match is None:
        raise file_error(where, "parameters such as 1=2", repr(word[:40]))
    key, text = int(match[1]), match[2]
    old_array = key <= _OLD_ARRAY
    key = _OLD_ARRAY - key if old_array else key
    if key not in PARAMETER_IDS:
        raise file_error(where, f"parameters 0 to {PARAMETER_IDS[-1]}", repr(word[:40]))
    if old_array or ("," in text and text[0] != '"'):
        return key, _array(text, old_array, where)
    if _NUMBER.fullmatch(text):
        return key, _number(text, where)
    match = _TEXT.fullmatch(text)
    if match is None or len(text) > _MAX_TEXT or not text.isascii():
        raise file_error(where, "a number or a text", repr(word[:40]))
    return key, match[1] or match[2]


def _array(text: str, old_array: bool, where: str) -> tuple[Scalar, ...]:
    words = text.split(",")
    if len(words) > _MAX_ARRAY:
        raise file_error(where, f"arrays of at most {_MAX_ARRAY}", str(len(words)))
    if old_array and words.pop(0) != str(len(words)):
        raise file_error(where, "an array's length and as many numbers", repr(text[:40]))
    items = tuple(_number(word, where) for word in words)
    # ncnn takes the type of the first item for all of them
    if not old_array and len({type(item) for item in items}) != 1:
        raise file_error(where, "integers or floats", repr(text[:40]))
    return items


def _number(text: str, where: str) -> Scalar:
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _MAX_NUMBER:
        expected = f"a number of at most {_MAX_NUMBER} characters"
        raise file_error(where, expected, repr(text[:40]))
    if match[1] is not None or match[2]:
        return float(text)
    if int(text) not in INT32:
        raise file_error(where, "an integer of 32 bits", text)
    return int(text)
