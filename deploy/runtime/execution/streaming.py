"""Items through stages, each stage in a thread of its own, so that neighbours overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

StreamStage = Callable[[Any], Any]
"""From an item to the next stage's item; called in one thread only, one item after the other."""


class _Item:
    """A value in the pipeline, or the error that took its place."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.error: BaseException | None = None


_Queue = SimpleQueue[_Item | None]  # None marks the end


def stream(stages: Sequence[StreamStage], source: Iterable[Any], depth: int) -> Iterator[Any]:
    """The items of a source through all stages, in their order.

    The source is read in the caller's thread, and only while fewer than ``depth`` items are in
    flight between the source and the caller. When the caller stops, items in flight are waited
    for.

    Args:
        stages: from the first to the last; they release the interpreter's lock while they work.
        source: the items.
        depth: how many items may be in flight, from 1 up.

    Raises:
        Exception: what a stage or the source raised, in the place of its item. Later items are
            dropped.
    """
    with _running(stages) as (first, last):
        items = iter(source)
        in_flight, ended = 0, False
        while True:
            while in_flight < depth and not ended and (in_flight == 0 or last.empty()):
                item = _next(items)
                ended = item is None or item.error is not None
                if item is not None:
                    first.put(item)
                    in_flight += 1
            if not in_flight:
                return
            result = last.get()
            in_flight -= 1
            if result is not None:
                yield _value(result)


def _next(source: Iterator[Any]) -> _Item | None:
    """The next item, or the error in its place; None at the end."""
    try:
        return _Item(next(source))
    except StopIteration:
        return None
    except Exception as error:  # noqa: BLE001 - it is raised behind the items before it
        item = _Item(None)
        item.error = error
        return item


def _value(item: _Item) -> Any:
    if item.error is not None:
        raise item.error
    return item.value


@contextmanager
def _running(stages: Sequence[StreamStage]) -> Iterator[tuple[_Queue, _Queue]]:
    """The queues before the first and after the last stage; the threads end with the block."""
    queues: list[_Queue] = [SimpleQueue() for _ in range(len(stages) + 1)]
    stopped = Event()
    threads = [
        Thread(target=_work, args=(stage, source, target, stopped), name="stream", daemon=True)
        for stage, source, target in zip(stages, queues, queues[1:], strict=False)
    ]
    for thread in threads:
        thread.start()
    try:
        yield queues[0], queues[-1]
    finally:
        stopped.set()
        queues[0].put(None)
        for thread in threads:
            thread.join()


def _work(stage: StreamStage, source: _Queue, target: _Queue, stopped: Event) -> None:
    while (item := source.get()) is not None:
        if item.error is None and not stopped.is_set():
            try:
                item.value = stage(item.value)
            except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
                item.error = error
        target.put(item)
    target.put(None)


def map_first(stage: StreamStage) -> StreamStage:
    """The stage applied to the first of a pair; the second is passed on."""

    def apply(pair: tuple[Any, Any]) -> tuple[Any, Any]:
        return stage(pair[0]), pair[1]

    return apply
