"""What a run of the command line was: its verdict, and whether a refusal helps."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

PASSED = "passed"
REFUSED = "refused"  # with what is wrong, by name, and what to do
DEAD_END = "dead end"  # a refusal without a name or a remedy
FAILED = "failed verification"
TRACEBACK = "traceback"
CRASHED = "crashed"  # of the command itself, by a signal
WRONG = "wrong"  # verified, and differs on real samples
BROKEN = "broken"  # verified, and does not run on real samples
TIMEOUT = "timeout"

FAULTS = (DEAD_END, TRACEBACK, CRASHED, WRONG, BROKEN)
"""Verdicts that make the check fail."""

_REMEDIES = (
    "Add", "Call", "Change", "Choose", "Cut", "Export", "Fix", "Fold", "Give", "Install", "Keep",
    "Leave", "Let", "List", "Make", "Mark", "Name", "Pass", "Put", "Quote", "Remove", "Rename",
    "Replace", "Return", "Run", "Save", "Set", "Start", "Update", "Use", "Wrap", "Write",
    "Did you mean",
)  # fmt: skip
_VERBS = "|".join(_REMEDIES)
_REMEDY = re.compile(rf"(?:^|[.:;!?)'\"]\s+|\n\s*)(?:{_VERBS})\b|, or (?:choose|cut|pass|give)\b")
_OPEN = str(2**31 - 1)  # of an open size; it says nothing to a person
_REPEAT = re.compile(r"\n\s*To repeat it:.*")
_NAMED = re.compile(r"\b(?:tensor|node|input|output) '[^'\n]+'|\b(?:model|partition)\.\w")


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    Attributes:
        code: its exit code; a signal's number is negative; None where it was ended for its time.
        output: its standard output.
        errors: its standard error.
    """

    code: int | None
    output: str
    errors: str


def verdict_of(finished: Finished, names: Collection[str]) -> tuple[str, str]:
    """The verdict of a command, and the text that says why.

    Args:
        finished: the command.
        names: of nodes, tensors, marks and modules, one of which a refusal must name.
    """
    text = f"{finished.errors}\n{finished.output}"
    if finished.code is None:
        return TIMEOUT, ""
    if finished.code < 0 or finished.code > 128:
        return CRASHED, finished.errors.strip()[-2000:]
    if "Traceback (most recent call last)" in text:
        return TRACEBACK, _from_traceback(text)
    if finished.code == 0:
        return PASSED, ""
    refusal = refusal_text(finished.errors)
    if not refusal:
        return FAILED, finished.output.strip()[-2000:]
    if "disagree" in refusal or "does not agree" in refusal:
        return FAILED, refusal
    return (REFUSED if is_helpful(refusal, names) else DEAD_END), refusal


def refusal_text(errors: str) -> str:
    """The error that the command printed, without the line that repeats a conversion."""
    _, found, text = errors.partition("error: ")
    return _REPEAT.sub("", text).strip() if found else ""


def is_helpful(refusal: str, names: Collection[str]) -> bool:
    """Whether a refusal names something of the model's, and says what to do."""
    return (
        bool(_REMEDY.search(refusal)) and names_something(refusal, names) and _OPEN not in refusal
    )


def names_something(refusal: str, names: Collection[str]) -> bool:
    """Whether a refusal names a node, a tensor, a mark, a module or an option."""
    if _NAMED.search(refusal):
        return True
    return any(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", refusal) for name in names)


def _from_traceback(text: str) -> str:
    lines = text[text.rindex("Traceback (most recent call last)") :].splitlines()
    return "\n".join([*lines[-4:]])[-2000:]
