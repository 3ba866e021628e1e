"""The processes that train together, as `torchrun` starts them; without it there is one."""

import os
from contextlib import contextmanager

import torch
import torch.distributed as dist

from freqkit.errors import torchrun


class ProcessGroup:
    """This process among `world`; every method does nothing when it is alone."""

    def __init__(self, rank=0, world=1):
        self.rank, self.world = rank, world

    @property
    def first(self):
        return self.rank == 0

    def share(self, items):
        """This rank's part of a tensor or range: parts are consecutive, differ by at most one, and cover all."""
        count = len(items)
        return items[self.rank * count // self.world : (self.rank + 1) * count // self.world]

    def add_(self, tensor):
        """Sum over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def copy_(self, tensors):
        """The first rank's values, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self):
        if self.world > 1:
            dist.barrier()


@contextmanager
def ranks(device):
    """The `ProcessGroup` that is there, or one from torchrun's environment, ended afterwards."""
    if dist.is_available() and dist.is_initialized():
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    elif torchrun()[1] > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield ProcessGroup(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()
    else:
        yield ProcessGroup()


def own_device(device):
    """`cuda` -> this rank's GPU on its machine."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", torchrun()[2])
    return device
