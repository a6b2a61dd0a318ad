"""Several processes train one detector: they share every batch, and end with the same weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shelfgap_datasets.datamodule import EpochOrder

# one of the processes: what torchrun starts, on the CPU over gloo
WORKER = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from shelfgap_datasets.coco import load_dataset
from shelfgap_training.train import is_main_process, train
from small_network import MODEL, TRAIN

torch.set_num_threads(1)
root = Path({root!r})
result = train(root / "data", load_dataset(root / "data"), MODEL, TRAIN, scratch=root / "scratch", workers=0, devices=2)
rank = int(os.environ["RANK"])
assert is_main_process() == (rank == 0)
torch.save((result.model.state_dict(), result.val_ap50), root / f"rank{{rank}}.pt")
"""


@given(st.integers(1, 60), st.sampled_from([(4, 2), (6, 3), (8, 2), (8, 4)]), st.integers(0, 5))
def test_processes_divide_each_batch_and_leave_none_out(count, shares, epoch):
    batch_size, processes = shares
    alone = [index for _, index in EpochOrder(count, 1, epoch)]
    orders = [
        EpochOrder(count, 1, epoch, batch_size=batch_size, rank=rank, processes=processes) for rank in range(processes)
    ]
    parts = [[index for _, index in order] for order in orders]
    assert [len(order) for order in orders] == [len(part) for part in parts]
    share = batch_size // processes
    for start in range(0, count // batch_size):
        together = {index for part in parts for index in part[start * share : (start + 1) * share]}
        assert together == set(alone[start * batch_size : (start + 1) * batch_size])


def test_two_processes_over_gloo_end_with_the_same_detector(tmp_path):
    from small_network import dark_patches

    dark_patches(tmp_path / "data")
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(tests=str(Path(__file__).parents[1]), root=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (one, ap50_one), (two, ap50_two) = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=0, msg=name)
    assert ap50_one == ap50_two
    assert (tmp_path / "scratch" / "last.ckpt").is_file()


@pytest.mark.parametrize("batch_size", [3, 64])
def test_batches_that_cannot_be_shared_are_refused(tmp_path, batch_size):
    from shelfgap_datasets.datamodule import ShelfDataModule
    from shelfgap_datasets.schema import DatasetError
    from small_network import AUGMENT, dark_patches

    dataset = dark_patches(tmp_path / "data")
    size = {"input_size": (96, 128), "batch_size": batch_size}
    module = ShelfDataModule(tmp_path / "data", dataset, **size, augment=AUGMENT, seed=1, workers=0)
    module.trainer = type("Trainer", (), {"global_rank": 0, "world_size": 2})()
    with pytest.raises(DatasetError, match=f"2 processes cannot share batches of {batch_size} from 12 training images"):
        module.train_dataloader()
