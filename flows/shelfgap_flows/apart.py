"""A training in a process of its own: the loader forks its workers, which other threads of this one would not survive.

The two processes speak over a pipe. When one end is gone, by a kill or on purpose, the other one ends in order: the
training after its batch, with the last finished epoch kept.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from shelfgap_datasets.coco import load_dataset
from shelfgap_edge.errors import ShelfgapError
from shelfgap_training.params import Preset
from shelfgap_training.tracking import Tracker

logger = logging.getLogger(__name__)

LOG_FILE = "training.log"
_LOOK_SECONDS = 0.2
_SPAWN = multiprocessing.get_context("spawn")


class TrainingFailedError(ShelfgapError):
    """A training ended with an error."""


class InterruptedTrainingError(ShelfgapError):
    """A training was told to stop; it goes on from its last finished epoch."""


@dataclass(frozen=True)
class Training:
    """What is trained on what; see `train`."""

    dataset: Path
    recipe: Preset
    scratch: Path  # of the checkpoint, and of what the process says
    initial: Path | None
    teacher: Path | None
    tracker: Tracker
    run_id: str
    cores: int | None  # None: as many as torch takes


@dataclass(frozen=True)
class Trained:
    """What the validation after its last epoch found; NaN where no validation image has a box."""

    val_ap50: float
    val_ap50_95: float
    seconds: float  # resumed epochs aside


class _PrunedError(Exception):
    """The other process wants no more of this training."""


def train_apart(
    training: Training, *, go_on: Callable[[int, float], bool], should_stop: Callable[[], bool]
) -> Trained | None:
    """Train, or go on from the last finished epoch, in another process.

    Args:
        training: what is trained.
        go_on: told the finished epochs and the AP50 after each validation; False ends the training.
        should_stop: asked five times a second; True ends the training after its batch.

    Returns:
        The figures, or None when `go_on` ended it.

    Raises:
        TrainingFailedError: it ended with an error, or without a word.
        InterruptedTrainingError: `should_stop` ended it.
    """
    training.scratch.mkdir(parents=True, exist_ok=True)
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_train, args=(training, there))
    # a blocked signal stays blocked in a new process: Ctrl-C ends the flow, which then closes the pipe
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    try:
        while True:
            if should_stop():
                raise InterruptedTrainingError("training interrupted; run the same command to go on from there")
            if not here.poll(_LOOK_SECONDS):
                continue
            match here.recv():
                case (int(epoch), float(ap50)):
                    here.send(go_on(epoch, ap50))
                case str(reason):
                    raise TrainingFailedError(reason)
                case Trained() as trained:
                    return trained
                case None:
                    return None
    except (EOFError, ConnectionError):
        process.join()
        log = training.scratch / LOG_FILE
        raise TrainingFailedError(f"its process ended with exit code {process.exitcode}; see {log}") from None
    finally:
        here.close()
        process.join()


def _train(training: Training, pipe: Connection) -> None:
    """Train in this process, which is the training's own."""
    with (training.scratch / LOG_FILE).open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import torch
    from shelfgap_training.checkpoint import load_detector
    from shelfgap_training.train import TrainingInterruptedError, train

    def report(epoch: int, ap50: float) -> None:
        pipe.send((epoch, ap50))
        if not pipe.recv():
            raise _PrunedError

    if training.cores is not None:
        torch.set_num_threads(training.cores)
    answer: Trained | str | None
    try:
        result = train(
            training.dataset,
            load_dataset(training.dataset),
            training.recipe.model,
            training.recipe.train,
            scratch=training.scratch,
            initial=None if training.initial is None else load_detector(training.initial),
            teacher=None if training.teacher is None else load_detector(training.teacher),
            lightning_logger=training.tracker.lightning_logger(training.run_id),
            should_stop=pipe.poll,  # nothing is sent unasked: the other end was closed
            on_validation=report,
            workers=None if training.cores is None else 0,  # beside others it has no core to spare
            devices=1,
        )
        answer = Trained(result.val_ap50, result.val_ap50_95, result.seconds)
    except _PrunedError:
        answer = None
    except (EOFError, ConnectionError, TrainingInterruptedError):
        return  # nobody listens
    except ShelfgapError as error:
        answer = str(error)
    except Exception as error:
        logger.exception("the training failed")
        answer = f"{type(error).__name__}: {error}"
    with suppress(ConnectionError):
        pipe.send(answer)
