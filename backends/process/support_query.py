"""What an engine takes of a segment, asked in a child process, which a bad file may crash."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.codec import from_json, to_json
from backends.contract import Segment, Specs
from backends.files import temporary_folder
from backends.options import Value
from backends.process.child import Limits, end_with_parent, module_command, run_limited
from backends.process.large_stack import call_with_large_stack
from backends.support import Support
from backends.terminal import program_output

_SECONDS = 300


@dataclass(frozen=True)
class SupportQuery:
    """The question to the child.

    Attributes:
        name: of the segment.
        onnx: its file.
        inputs: of the segment.
        outputs: of the segment.
        options: of the backend, as JSON values.
    """

    name: str
    onnx: str
    inputs: Specs
    outputs: Specs
    options: Mapping[str, Value]

    @property
    def segment(self) -> Segment:
        """The segment."""
        return Segment(self.name, Path(self.onnx), self.inputs, self.outputs)


def support_in_child(
    asked: str, module: str, segment: Segment, options: Mapping[str, Value]
) -> Support:
    """Ask about a segment.

    Args:
        asked: who is asked, for people; the answer may say it more exactly.
        module: of the child, which calls ``answer_query``.
        segment: its file; weights may lie beside it.
        options: of the backend.
    """
    with temporary_folder() as folder:
        query, answer, log = (folder / name for name in ("query", "answer", "log"))
        onnx = str(segment.onnx.absolute())
        question = SupportQuery(segment.name, onnx, segment.inputs, segment.outputs, options)
        query.write_text(json.dumps(to_json(question)))
        command = module_command(module, str(query), str(answer))
        with log.open("w+") as output:
            failure = run_limited(command, Limits(_SECONDS), output)
        if failure or not answer.is_file():
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            reason = "; ".join([failure or "no answer", *last])
            return Support(asked, unknown=f"{asked} ended with {reason}")
        return from_json(Support, json.loads(answer.read_text()), "answer")


@program_output()
def answer_query(support: Callable[[SupportQuery], Support]) -> None:
    """The child process: ``QUERY ANSWER``."""
    end_with_parent()
    query, answer = map(Path, sys.argv[1:])
    question = from_json(SupportQuery, json.loads(query.read_text()), "query")
    answer.write_text(json.dumps(to_json(call_with_large_stack(lambda: support(question)))))
