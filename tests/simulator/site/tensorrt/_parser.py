"""The ONNX parsers, of networks and of new weights."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ._enums import ErrorCode, expect
from ._faulty import Fault
from ._log import ILogger, say
from ._network import INetworkDefinition, fill
from ._refit import Refitter

if TYPE_CHECKING:
    import onnx


class ParserError:
    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def code(self) -> ErrorCode:
        return self._fault.code

    def desc(self) -> str:
        return self._fault.text

    def node(self) -> int:
        """Its number, or -1."""
        return self._fault.node

    def node_name(self) -> str:
        return self._fault.name

    def node_operator(self) -> str:
        return self._fault.operator

    def func(self) -> str:
        return self._fault.function

    def file(self) -> str:
        return self._fault.file

    def line(self) -> int:
        return 1

    def __repr__(self) -> str:
        fault = self._fault
        node = f"In node {fault.node} with name: {fault.name} and operator: {fault.operator}"
        return f"{node} ({self.func()}): {fault.code.name}: {fault.text}"


class _Errors:
    """What both parsers keep."""

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._faults: tuple[Fault, ...] = ()

    @property
    def num_errors(self) -> int:
        return len(self._faults)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._faults[index])

    def clear_errors(self) -> None:
        self._faults = ()

    def _report(self, *faults: Fault) -> bool:
        self._faults += faults
        for fault in faults:
            say(self._logger, repr(ParserError(fault)))
        return not faults


class OnnxParser(_Errors):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        super().__init__(expect(ILogger, logger))
        self._network = network
        self._subgraphs: list[list[int]] = []  # of nodes that are taken
        self._whole = False

    def parse_from_file(self, model: str) -> bool:
        data = _file(model)
        return self.parse(data, model) if data is not None else self._report(_unreadable(model))

    def parse(self, model: bytes, path: str | None = None) -> bool:
        from ._graph import RefusedError, parse

        try:
            fill(self._network, parse(bytes(model), Path(path).parent if path else None))
        except RefusedError as error:
            return self._report(*error.faults)
        return True

    def supports_model_v2(self, model: bytes, path: str | None = None) -> bool:
        """Whether the model is taken; the nodes that are, in groups between those that are not."""
        from ._graph import RefusedError, parse, read

        folder = Path(path).parent if path else None
        refused: set[int] = set()
        nodes: range | tuple[int, ...] = ()
        try:
            nodes = range(len(read(bytes(model), folder).graph.node))
            parse(bytes(model), folder)
        except RefusedError as error:
            self._report(*error.faults)
            refused = {fault.node for fault in error.faults}
        runs = groupby(nodes, key=lambda node: node not in refused)
        self._subgraphs = [list(run) for taken, run in runs if taken]
        self._whole = not refused
        return self._whole

    @property
    def num_subgraphs(self) -> int:
        return len(self._subgraphs)

    def is_subgraph_supported(self, index: int) -> bool:
        """As NVIDIA's: of no group of a model that is not taken as a whole."""
        return self._whole

    def get_subgraph_nodes(self, index: int) -> list[int]:
        return self._subgraphs[index]


class OnnxParserRefitter(_Errors):
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        super().__init__(expect(ILogger, logger))
        self._refitter = refitter

    def refit_from_file(self, model: str) -> bool:
        data = _file(model)
        if data is None:
            return self._report(_unreadable(model))
        return self.refit_from_bytes(data, model)

    def refit_from_bytes(self, model: bytes, path: str | None = None) -> bool:
        from ._graph import RefusedError, parse

        try:
            parsed = parse(bytes(model), Path(path).parent if path else None)
        except RefusedError as error:
            return self._report(*error.faults)
        return self._report(*self._refused(parsed))

    def _refused(self, parsed: onnx.ModelProto) -> list[Fault]:
        return [Fault(ErrorCode.REFIT_FAILED, text) for text in self._refitter._offer(parsed)]


def _file(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _unreadable(path: str) -> Fault:
    text = f"Input file cannot be found, or is not a regular file: {path}"
    return Fault(ErrorCode.INVALID_VALUE, text, function="parseFromFile")
