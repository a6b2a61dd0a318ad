"""Work in a process of its own: a training forks workers, a latency wants no other threads beside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from shelfgap_edge.errors import ShelfgapError

from versus_yolo.work import BenchmarkError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def isolated(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function of a module in a spawned process and return what it returns.

    Raises:
        ShelfgapError: what the function raised.
        BenchmarkError: the process died, of another error, which it printed, or was killed.
    """
    spawn = get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_answer, args=(sender, work, args, kwargs))
    process.start()
    sender.close()  # so that its death is the end of the pipe
    try:
        error, result = receiver.recv()
    except EOFError:
        process.join()
        raise BenchmarkError(
            f"{work.__name__}: its process ended with {process.exitcode}, for lack of memory if it was killed; "
            "run the same command to go on"
        ) from None
    process.join()
    if error is not None:
        raise error
    value: Result = result
    return value


def _answer(sender: Connection, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    answer: tuple[ShelfgapError | None, Any]
    try:
        answer = (None, work(*args, **kwargs))
    except ShelfgapError as error:
        answer = (error, None)
    with suppress(BrokenPipeError):  # the command is gone
        sender.send(answer)
