"""Train a detector on a dataset directory: resumable, reproducible, tracked."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from shelfgap_datasets.datamodule import ShelfDataModule
from shelfgap_datasets.schema import Dataset
from shelfgap_edge.bench.energy import EnergyMeter
from shelfgap_edge.errors import ShelfgapError

from shelfgap_training.checkpoint import TrainedDetector
from shelfgap_training.cost import TrainingCost
from shelfgap_training.distillation import require_teacher
from shelfgap_training.model import STRIDE, GapDetector
from shelfgap_training.module import DetectorModule, TrainingError
from shelfgap_training.params import ModelParams, TrainParams
from shelfgap_training.progress import TrainingProgress
from shelfgap_training.resume import DurableCheckpoints, finished_epochs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a training brought."""

    model: GapDetector  # moving average of the weights, in evaluation mode, on the CPU
    val_ap50: float  # of that model; NaN where no validation image has a box
    val_ap50_95: float
    epochs: int
    resumed_from_epoch: int
    train_images: int
    val_images: int
    seconds: float  # of this process, resumed epochs aside
    all_seconds: float  # with those of the sessions before it
    sessions: int
    energy_joules: float | None  # of the processors, in all sessions; None if one was not metered
    device: str


class TrainingInterruptedError(ShelfgapError):
    """The training was stopped before its last epoch; it resumes from there."""


def train(
    dataset_root: Path,
    dataset: Dataset,
    model_params: ModelParams,
    train_params: TrainParams,
    *,
    scratch: Path,
    initial: TrainedDetector | None = None,
    teacher: TrainedDetector | None = None,
    lightning_logger: object = False,
    should_stop: Callable[[], bool] | None = None,
    on_validation: Callable[[int, float], None] | None = None,
    workers: int | None = None,
    devices: int | None = None,
    nodes: int = 1,
) -> TrainResult:
    """Train, or go on from the last finished epoch found in `scratch`.

    Args:
        dataset_root: dataset directory.
        dataset: its content, with splits.
        model_params: the network.
        train_params: the recipe.
        scratch: folder of the checkpoint; belongs to exactly these parameters and data.
        initial: a detector whose weights to start from.
        teacher: a detector to learn from beside the labels.
        lightning_logger: a Lightning logger for the curves, or False.
        should_stop: asked after each batch; True ends the training like Ctrl-C.
        on_validation: told the finished epochs, those of the imitation aside, and the AP50 after each validation; what
            it raises ends the training.
        workers: processes that augment, forked from this one: 0 where other threads already run in it.
            None: one per spare core. The pictures do not depend on it.
        devices: processes on this machine that train together, one a GPU (or, without one, on the CPU); None: one for
            each GPU that torch sees, else one.
        nodes: machines that train together, each started with the same command and torch's variables of the
            environment (MASTER_ADDR, NODE_RANK); they need the same files.

    Raises:
        DatasetError: no training or no validation images.
        CheckpointError: the initial weights are of another network, the teacher does not fit, or what is in `scratch`
            cannot be read.
        TrainingError: more detections are asked for than there are cells, or what is learned is no number any more.
        TrainingInterruptedError: Ctrl-C or `should_stop`; the last finished epoch is kept.
    """
    pl.seed_everything(train_params.seed, workers=True, verbose=False)
    _quieten()
    cores = os.cpu_count() or 2
    workers = min(4, max(1, cores - 1)) if workers is None else workers
    if workers and not torch.cuda.is_available():
        # workers need half of a core: beside one, an epoch takes 0.8 of its time on two threads instead of one,
        # as long as threads sleep while they wait (OMP_WAIT_POLICY)
        torch.set_num_threads(cores)
    imitated = train_params.imitation.epochs if initial is None else 0
    epochs = imitated + train_params.epochs
    checkpoint = scratch / "last.ckpt"
    resumed_from = finished_epochs(checkpoint)
    if resumed_from:
        logger.info("resuming after epoch %d of %d (%s)", resumed_from, epochs, checkpoint)
    data = ShelfDataModule(
        dataset_root,
        dataset,
        input_size=model_params.input_size,
        batch_size=train_params.batch_size,
        augment=train_params.augment,
        seed=train_params.seed,
        workers=workers,
        first_epoch=resumed_from,
        label_epoch=imitated,
    )
    _require_cells(model_params, len(dataset.detector_classes))
    module = DetectorModule(
        model_params,
        train_params,
        len(dataset.detector_classes),
        total_steps=epochs * data.steps_per_epoch(),
        imitation_steps=imitated * data.steps_per_epoch(),
        teacher=None if teacher is None else require_teacher(teacher, dataset.detector_classes),
    )
    if initial is not None:
        module.start_from(dataset.detector_classes, initial)
    count = devices or max(1, torch.cuda.device_count())
    together = count * nodes > 1
    cost = TrainingCost(EnergyMeter())
    trainer = pl.Trainer(
        max_epochs=epochs,
        precision="bf16-mixed",
        accelerator="auto",
        devices=count,
        num_nodes=nodes,
        # heads rest while the backbone imitates, and the other way round
        strategy=f"ddp_find_unused_parameters_{str(imitated > 0).lower()}" if together else "auto",
        sync_batchnorm=together and torch.cuda.is_available(),  # torch has none for the CPU
        use_distributed_sampler=False,  # `EpochOrder` divides the batches
        logger=lightning_logger,  # type: ignore[arg-type]
        callbacks=[
            ModelCheckpoint(
                scratch,
                filename="last",
                save_top_k=1,
                save_on_train_epoch_end=True,  # after the validation: the epoch is whole
                enable_version_counter=False,
            ),
            TrainingProgress(),
            cost,
            _StopWhen(should_stop),
            _AfterValidation(on_validation, imitated),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=train_params.validate_every_epochs,
        gradient_clip_val=10.0,
        log_every_n_steps=1,
        plugins=[DurableCheckpoints()],
    )
    started = time.monotonic()
    try:
        trainer.fit(module, data, ckpt_path=checkpoint if resumed_from else None, weights_only=False)
        if epochs % train_params.validate_every_epochs or resumed_from == epochs:
            trainer.validate(module, data.val_dataloader(), verbose=False)  # the last epoch has no figures yet
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise TrainingInterruptedError(_interrupted(trainer)) from None
    validated = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    return TrainResult(
        model=module.averaged_model(),
        val_ap50=validated.get("val/ap50", float("nan")),
        val_ap50_95=validated.get("val/ap50_95", float("nan")),
        epochs=epochs,
        resumed_from_epoch=resumed_from,
        train_images=len(data.train_images),
        val_images=len(data.val_images),
        seconds=time.monotonic() - started,
        all_seconds=cost.seconds,
        sessions=cost.sessions,
        energy_joules=cost.joules if nodes == 1 else None,  # of other machines nothing is known here
        device=str(trainer.strategy.root_device),
    )


def is_main_process() -> bool:
    """Say whether this process speaks for those that train together: it tracks, and writes what comes out."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "NODE_RANK", "LOCAL_RANK"))


class _StopWhen(pl.Callback):
    """Ends the training after a batch when told so."""

    def __init__(self, should_stop: Callable[[], bool] | None) -> None:
        self._should_stop = should_stop

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        if self._should_stop is not None and self._should_stop():
            raise TrainingInterruptedError(_interrupted(trainer))


class _AfterValidation(pl.Callback):
    """Tells what a validation found, once labels are learned from."""

    def __init__(self, on_validation: Callable[[int, float], None] | None, imitated: int) -> None:
        self._on_validation = on_validation
        self._imitated = imitated

    def on_validation_end(self, trainer: pl.Trainer, *args: object) -> None:
        epoch = min(trainer.current_epoch + 1, trainer.max_epochs or 0) - self._imitated
        if self._on_validation is not None and epoch > 0:
            self._on_validation(epoch, float(trainer.callback_metrics["val/ap50"]))


def _require_cells(params: ModelParams, classes: int) -> None:
    """Refuse at once what would end the first validation."""
    height, width = params.input_size
    most = classes * (height // STRIDE) * (width // STRIDE)
    if params.max_detections > most:
        raise TrainingError(
            f"an input of {width}x{height} has {most} cells for {classes} class(es), expected at least "
            f"max_detections, {params.max_detections}; lower that in params.yaml, or take a larger input"
        )


def _interrupted(trainer: pl.Trainer) -> str:
    done = f"training stopped after epoch {trainer.current_epoch} of {trainer.max_epochs}"
    return f"{done}; run the same command to go on from there"


def _quieten() -> None:
    """Drop Lightning's advice that does not apply here."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # one worker beside the training is right for two cores
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    # Lightning's own use of a deprecated torch tree helper
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
