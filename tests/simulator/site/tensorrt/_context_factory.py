"""How an engine makes its execution contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._context import IExecutionContext


class ContextFactory:
    """The part of an engine that does."""

    def create_execution_context(self) -> IExecutionContext | None:
        return self._new_context(lambda shapes: None)
