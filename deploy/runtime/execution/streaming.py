"""Items through stages, each stage in a thread of its own, so that neighbours overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

StreamStage = Callable[[Any], Any]
"""What comes of an item; called in one thread alone, one item after the other."""


class _Item:
    """A value on its way, or the error that ended it."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.error: BaseException | None = None


_Queue = SimpleQueue[_Item | None]  # nothing is the end


def stream(stages: Sequence[StreamStage], source: Iterable[Any], depth: int) -> Iterator[Any]:
    """The items of a source through all stages, in their order.

    The source is asked in the caller's thread, and only when fewer than ``depth`` items are under
    way, from the source to the caller. When the caller leaves, what was begun is waited for.

    Args:
        stages: from the first to the last; they release the interpreter's lock while they work.
        source: asked for an item whenever there is room.
        depth: how many items may be under way, from 1 up.

    Raises:
        Exception: whatever a stage or the source raised, where its item would have come. Items
            behind it are dropped.
    """
    with _running(stages) as (first, last):
        waiting = iter(source)
        under_way, ended = 0, False
        while True:
            while under_way < depth and not ended and (under_way == 0 or last.empty()):
                item = _next(waiting)
                ended = item is None or item.error is not None
                if item is not None:
                    first.put(item)
                    under_way += 1
            if not under_way:
                return
            done = last.get()
            under_way -= 1
            if done is not None:
                yield _value(done)


def _next(source: Iterator[Any]) -> _Item | None:
    """The next item, or the error in its place; nothing at the end."""
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
    """The queues before the first and behind the last stage; their threads end with the block."""
    queues: list[_Queue] = [SimpleQueue() for _ in range(len(stages) + 1)]
    stopped = Event()
    threads = [
        Thread(target=_work, args=(stage, before, behind, stopped), name="stream", daemon=True)
        for stage, before, behind in zip(stages, queues, queues[1:], strict=False)
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


def _work(stage: StreamStage, before: _Queue, behind: _Queue, stopped: Event) -> None:
    while (item := before.get()) is not None:
        if item.error is None and not stopped.is_set():
            try:
                item.value = stage(item.value)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                item.error = error
        behind.put(item)
    behind.put(None)


def beside(stage: StreamStage) -> StreamStage:
    """The stage for the first of a pair, whose second goes along."""

    def run(pair: tuple[Any, Any]) -> tuple[Any, Any]:
        return stage(pair[0]), pair[1]

    return run
