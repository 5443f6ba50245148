"""The text of a ``.param`` as plain data, read more strictly than ncnn's own parser does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backends.contract import EngineError

MAGIC = "7767517"


AGAIN = "Convert again."


INTS = range(-(2**31), 2**31)


IDS = range(32)  # NCNN_MAX_PARAM_COUNT


_MOST_LAYERS = 1 << 14  # a chain is computed by recursion: at twice as many the stack ends


_MOST_BLOBS = 1 << 16


_LONGEST_LINE = 1 << 18


_LONGEST_WORD = 255  # bytes, as in the parser's "%255s"


_LONGEST_NUMBER = 15  # as in its "%15[^,\n ]"


_LONGEST_TEXT = 240


_LONGEST_ARRAY = 1 << 12


_OLD_ARRAY = -23300  # "-23303=2,1,2" is an array with the id 3 and its length in front


_KIND = re.compile(r"[A-Za-z][\w.]*", re.ASCII)


_COUNT = re.compile(r"[0-9]{1,9}")


_PAIR = re.compile(r"(-?[0-9]{1,5})=(.+)")


_PLAIN = re.compile(r"([0-9]{1,2})=(-?[0-9]{1,9})")  # nearly all of them


_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")


_TEXT = re.compile(r'"([^",][^"]*)"|([A-Za-z][^"]*)')


Scalar = int | float


Value = Scalar | str | tuple[Scalar, ...]


@dataclass(frozen=True)
class Layer:
    """One line: what is computed, from which blobs, into which."""

    kind: str
    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: Mapping[int, Value]

    def whole(self, key: int, default: int = 0) -> int:
        """A parameter that is an integer."""
        value = self.params.get(key, default)
        if not isinstance(value, int):
            raise self.fault(f"parameter {key}", "an integer", repr(value))
        return value

    def number(self, key: int, default: float) -> float:
        """A parameter that is a number; ncnn takes an integer's bits for those of a float."""
        value = self.params.get(key, default)
        return value if isinstance(value, float) else 0.0

    def wholes(self, key: int) -> tuple[int, ...]:
        """A parameter that is an array of integers; empty where it is none or not there."""
        value = self.params.get(key)
        if not isinstance(value, tuple):
            return ()
        found = tuple(item for item in value if isinstance(item, int))
        if len(found) != len(value):
            raise self.fault(f"parameter {key}", "integers", str(value))
        return found

    def text(self, key: int) -> str:
        """A parameter that is a text; empty where it is none or not there."""
        value = self.params.get(key)
        return value if isinstance(value, str) else ""

    def fault(self, what: str, expected: str, got: object) -> EngineError:
        """What is wrong with this layer."""
        return EngineError(
            f"ncnn layer '{self.name}' ({self.kind}): {what}",
            expected=expected,
            got=str(got),
            do=AGAIN,
        )


@dataclass(frozen=True)
class Net:
    """All layers in their order, and how many blobs the file says there are."""

    layers: tuple[Layer, ...]
    blobs: int


def parse(text: str, file: str) -> Net:
    """Read the text of the ``.param`` called ``file``.

    ncnn reads words and does not care for lines; what is refused here could be read as something
    else there, or overrun one of its buffers.

    Raises:
        EngineError: another magic, a count that is not true or beyond any net, a line, a word or a
            number that is not as pnnx writes them.
    """
    lines = text.removesuffix("\n").split("\n")
    if lines[0].strip(" ") != MAGIC:
        raise _fault(file, f"ncnn's magic {MAGIC}", repr(lines[0][:20]))
    counts = lines[1].split() if len(lines) > 1 else []
    if len(counts) != 2 or not all(map(_COUNT.fullmatch, counts)):
        raise _fault(file, "two counts in line 2", repr(" ".join(counts)[:40]))
    layers, blobs = map(int, counts)
    if not (1 <= layers <= _MOST_LAYERS and 1 <= blobs <= _MOST_BLOBS):
        expected = f"1 to {_MOST_LAYERS} layers and 1 to {_MOST_BLOBS} blobs"
        raise _fault(file, expected, f"{layers} and {blobs}")
    if len(lines) != layers + 2:
        raise _fault(file, f"{layers} layers, a line for each", f"{len(lines) - 2} lines")
    if not text.replace("\n", "").isprintable():
        raise _fault(file, "printable text", "control characters")
    return Net(
        tuple(_layer(line, f"{file}, line {at}") for at, line in enumerate(lines[2:], 3)), blobs
    )


def _layer(line: str, where: str) -> Layer:
    if len(line) > _LONGEST_LINE:
        raise _fault(where, f"at most {_LONGEST_LINE} characters", str(len(line)))
    words = [word for word in line.split(" ") if word]
    if len(words) < 4 or not _KIND.fullmatch(words[0]):
        raise _fault(where, "a layer's kind, name and two counts", repr(line[:60]))
    if not (_COUNT.fullmatch(words[2]) and _COUNT.fullmatch(words[3])):
        raise _fault(where, "the counts of bottoms and tops", repr(" ".join(words[2:4])[:40]))
    tops = 4 + int(words[2])
    params = tops + int(words[3])
    if len(words) < params:
        raise _fault(where, f"{params - 4} blobs", f"{len(words) - 4} words")
    longest = max(words[:params], key=len)
    if len(longest) * 4 > _LONGEST_WORD and any(
        len(word.encode()) > _LONGEST_WORD for word in words[:params]
    ):
        raise _fault(where, f"words of at most {_LONGEST_WORD} bytes", repr(longest[:40]))
    pairs = [_pair(word, where) for word in words[params:]]
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _fault(where, "each parameter once", " ".join(words[params:])[:60])
    return Layer(words[0], words[1], tuple(words[4:tops]), tuple(words[tops:params]), found)


def _pair(word: str, where: str) -> tuple[int, Value]:
    if (plain := _PLAIN.fullmatch(word)) and int(plain[1]) in IDS:
        return int(plain[1]), int(plain[2])
    match = _PAIR.fullmatch(word)
    if match is None:
        raise _fault(where, "parameters such as 1=2", repr(word[:40]))
    key, text = int(match[1]), match[2]
    old = key <= _OLD_ARRAY
    key = _OLD_ARRAY - key if old else key
    if key not in IDS:
        raise _fault(where, f"parameters 0 to {IDS[-1]}", repr(word[:40]))
    if old or ("," in text and text[0] != '"'):
        return key, _array(text, old, where)
    if _NUMBER.fullmatch(text):
        return key, _number(text, where)
    match = _TEXT.fullmatch(text)
    if match is None or len(text) > _LONGEST_TEXT or not text.isascii():
        raise _fault(where, "a number or a text", repr(word[:40]))
    return key, match[1] or match[2]


def _array(text: str, old: bool, where: str) -> tuple[Scalar, ...]:
    words = text.split(",")
    if len(words) > _LONGEST_ARRAY:
        raise _fault(where, f"arrays of at most {_LONGEST_ARRAY}", str(len(words)))
    if old and words.pop(0) != str(len(words)):
        raise _fault(where, "an array's length and as many numbers", repr(text[:40]))
    items = tuple(_number(word, where) for word in words)
    if not old and len({type(item) for item in items}) != 1:  # the first decides for all
        raise _fault(where, "integers or floats", repr(text[:40]))
    return items


def _number(text: str, where: str) -> Scalar:
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _LONGEST_NUMBER:
        raise _fault(where, f"a number of at most {_LONGEST_NUMBER} characters", repr(text[:40]))
    if match[1] is not None or match[2]:
        return float(text)
    if int(text) not in INTS:
        raise _fault(where, "an integer of 32 bits", text)
    return int(text)


def _fault(where: str, expected: str, got: str) -> EngineError:
    return EngineError(f"'{where}'", expected=expected, got=got, do=AGAIN)
