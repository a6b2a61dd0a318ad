"""The LightningDataModule: pictures at the network's input size, augmented for training, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.params import AugmentParams
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord
from shelfgap_datasets.transforms import IGNORED_ID, Sample, TrainTransform

_CACHE_LIMIT_BYTES = 4 << 30  # larger sets are decoded anew at each epoch


class Batch(NamedTuple):
    """A batch as the network takes it; boxes are in input pixels."""

    frames: Tensor  # uint8 (B, H, W, 3) RGB
    boxes_xyxy: list[Tensor]  # per image float32 (N, 4)
    class_ids: list[Tensor]  # per image int64 (N,)
    ignored_xyxy: list[Tensor]  # per image float32 (K, 4), regions that say nothing
    labelled: Tensor  # bool (B, C): whether a class was labelled in an image, so that no box means background
    image_index: Tensor  # int64 (B,), position in the split


class EpochOrder(Sampler[tuple[int, int]]):
    """Every index once, in an order that seed and epoch alone decide, as keys (epoch, index).

    The epoch decides the augmentation; it travels with the index, since worker processes outlive an epoch. Lightning
    calls `set_epoch`, but on a resume only after the workers fetched their first batches: hence `epoch`.

    Where several processes train together, each takes its slice of every batch, so that a batch holds the same pictures
    whatever their number.

    >>> order = EpochOrder(3, seed=1, epoch=0)
    >>> sorted(index for _, index in order)
    [0, 1, 2]
    """

    def __init__(
        self, count: int, seed: int, epoch: int, *, batch_size: int = 1, rank: int = 0, processes: int = 1
    ) -> None:
        self.count = count
        self.seed = seed
        self.epoch = epoch
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count if self.processes == 1 else self.count // self.batch_size * self.batch_size // self.processes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng(_stream(self.seed, self.epoch)).permutation(self.count)
        if self.processes > 1:
            batches = order[: self.count // self.batch_size * self.batch_size].reshape(-1, self.batch_size)
            order = np.split(batches, self.processes, axis=1)[self.rank].reshape(-1)
        for index in order:
            yield self.epoch, int(index)


def _stream(seed: int, epoch: int) -> int:
    return seed * 100_003 + epoch


class Item(NamedTuple):
    """One picture as a loader hands it to `collate`."""

    position: int  # in the split
    sample: Sample
    labelled: NDArray[np.bool_]  # (C,)


class ShelfImages(TorchDataset[Item]):
    """The images of one split, resized to the input size; augmented when a transform is given.

    Keys are positions in the split; with a transform, (epoch, position) as `EpochOrder` gives them.

    Args:
        root: dataset directory.
        records: its images.
        classes: class names by id of the network; boxes of others are left out, but for regions that say nothing.
        input_size: (height, width) in pixels.
    """

    def __init__(
        self, root: Path, records: Sequence[ImageRecord], classes: Sequence[str], input_size: tuple[int, int]
    ) -> None:
        self.root = root
        self.records = records
        self.input_size = input_size
        self.transform: TrainTransform | None = None
        self.seed = 0
        self.growth_epochs = range(0)
        shown = [r.resized(input_size) for r in records]
        known = [r.of_classes(classes) for r in shown]
        ignored = [r.ignored_xyxy() for r in shown]
        self.boxes_xyxy = [np.concatenate([k.boxes_xyxy(), i]) for k, i in zip(known, ignored, strict=True)]
        self.class_ids = [
            np.append(k.class_ids(classes), np.full(len(i), IGNORED_ID)) for k, i in zip(known, ignored, strict=True)
        ]
        self.labelled = np.array([[r.is_labelled(name) for name in classes] for r in records], np.bool_)
        self._frames: NDArray[np.uint8] | None = None

    def preload(self) -> None:
        """Decode every image once into memory, unless they would take too much of it."""
        height, width = self.input_size
        if len(self.records) * height * width * 3 <= _CACHE_LIMIT_BYTES:
            frames = np.empty((len(self.records), height, width, 3), np.uint8)
            for index in range(len(self.records)):
                frames[index] = self.read(index)
            self._frames = frames

    def read(self, index: int) -> NDArray[np.uint8]:
        """Decode one image to uint8 (H, W, 3) RGB at the input size."""
        return load_picture(self.root, self.records[index].file_name, self.input_size)

    def sample(self, index: int) -> Sample:
        """Return one image and its boxes without augmentation."""
        image = self.read(index) if self._frames is None else self._frames[index]
        return Sample(image, self.boxes_xyxy[index], self.class_ids[index])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample, labelled = self.sample(index), self.labelled[index]
        if self.transform is None:
            return Item(index, sample, labelled)
        # each (epoch, image) has a stream of its own: the same pictures whatever the number of workers
        rng = np.random.default_rng((_stream(self.seed, epoch), index))
        neighbours: list[Sample] = []
        if rng.random() < self.transform.mosaic_probability:
            others = rng.integers(0, len(self), 3)
            neighbours = [self.sample(int(i)) for i in others]
            labelled = labelled & self.labelled[others].all(axis=0)
        if epoch in self.growth_epochs:
            seeds = rng.integers(0, 2**31, 1 + len(neighbours)).tolist()
            sample, *neighbours = (
                self.transform.grow(s, seed) for s, seed in zip([sample, *neighbours], seeds, strict=True)
            )
        return Item(index, self.transform(sample, int(rng.integers(0, 2**31)), neighbours), labelled)


class ShelfDataModule(pl.LightningDataModule):
    """Training and validation batches of a dataset directory.

    Args:
        root: dataset directory.
        dataset: its content, with splits.
        input_size: (height, width) in pixels.
        batch_size: images a batch, of all processes that train together.
        augment: strengths of the training augmentation.
        seed: with the epoch, decides order and augmentation of the training images.
        workers: processes that augment beside the training.
        first_epoch: the epoch that this training begins with; more than 0 after a resume.
        label_epoch: the first epoch in which labels are learned from; gaps are grown from there on.

    Raises:
        DatasetError: the dataset has no training or no validation image, or no class to detect; or processes that
            train together cannot share its batches evenly.
    """

    def __init__(
        self,
        root: Path,
        dataset: Dataset,
        *,
        input_size: tuple[int, int],
        batch_size: int,
        augment: AugmentParams,
        seed: int,
        workers: int,
        first_epoch: int = 0,
        label_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.first_epoch = first_epoch
        for split in ("train", "val"):
            if not dataset.of_split(split):
                raise DatasetError(f"{root}: no image in split {split}; run: shelfgap data split {root}")
        classes = dataset.detector_classes
        if not classes:
            raise DatasetError(f"{root}: labelled with {', '.join(dataset.annotated_classes)} only, nothing to detect")
        self.train_images = ShelfImages(root, dataset.of_split("train"), classes, input_size)
        self.val_images = ShelfImages(root, dataset.of_split("val"), classes, input_size)
        gap_id = classes.index("gap") if "gap" in classes else None
        self.train_images.transform = TrainTransform(augment, input_size, gap_id)
        self.train_images.seed = seed
        self.train_images.growth_epochs = range(label_epoch, label_epoch + augment.gap_growth_epochs)

    def setup(self, stage: str) -> None:
        """Decode the images into memory."""
        cv2.setNumThreads(0)  # its threads would not survive the fork of the workers
        self.train_images.preload()
        self.val_images.preload()

    def train_dataloader(self) -> DataLoader[Item]:
        """Return the shuffled, augmented batches; the workers live as long as the loader."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.batch_size % processes or (processes > 1 and len(self.train_images) < self.batch_size):
            raise DatasetError(
                f"{processes} processes cannot share batches of {self.batch_size} from {len(self.train_images)} "
                "training images evenly; change batch_size in params.yaml, or the number of processes"
            )
        return DataLoader(
            self.train_images,
            batch_size=self.batch_size // processes,
            sampler=EpochOrder(
                len(self.train_images),
                self.seed,
                self.first_epoch,
                batch_size=self.batch_size,
                rank=rank,
                processes=processes,
            ),
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,  # shares the decoded images
            persistent_workers=self.workers > 0,
            collate_fn=collate,
            worker_init_fn=_init_worker,
            drop_last=len(self.train_images) >= self.batch_size,  # a tiny last batch upsets batch norm
        )

    def val_dataloader(self) -> DataLoader[Item]:
        """Return the validation images in their order."""
        return DataLoader(self.val_images, batch_size=self.batch_size, collate_fn=collate)

    def steps_per_epoch(self) -> int:
        """Return how many training batches an epoch has."""
        count = len(self.train_images) / self.batch_size
        return max(1, math.floor(count))


def collate(items: Sequence[Item]) -> Batch:
    """Stack samples of one size into a batch."""
    is_box = [item.sample.class_ids != IGNORED_ID for item in items]
    return Batch(
        frames=torch.from_numpy(np.stack([item.sample.image_rgb for item in items])),
        boxes_xyxy=[torch.from_numpy(item.sample.boxes_xyxy[k]) for item, k in zip(items, is_box, strict=True)],
        class_ids=[torch.from_numpy(item.sample.class_ids[k]) for item, k in zip(items, is_box, strict=True)],
        ignored_xyxy=[torch.from_numpy(item.sample.boxes_xyxy[~k]) for item, k in zip(items, is_box, strict=True)],
        labelled=torch.from_numpy(np.stack([item.labelled for item in items])),
        image_index=torch.tensor([item.position for item in items]),
    )


def _init_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
