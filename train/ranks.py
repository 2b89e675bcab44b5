"""Ranks: processes that each run some lanes and add their gradients up.

`imagebert pretrain --ranks N` spawns them on this machine (gloo on the CPU, NCCL on GPUs); under torchrun, which sets
RANK and WORLD_SIZE, a process joins the group it was started for.
"""
from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from crawl.errors import UsageError

_GRACE_SECONDS = 60      # for the other ranks to end by themselves when one has failed


@dataclasses.dataclass(frozen=True, slots=True)
class Ranks:
    """One process of the group."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Returns whether this process writes logs and checkpoints."""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> None:
        """Sums a tensor over all ranks in place."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def total(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Returns counts summed over all ranks."""
        if self.world == 1:
            return counts
        tensor = torch.tensor(counts, dtype=torch.int64, device=self.device())
        dist.all_reduce(tensor)
        return tuple(tensor.tolist())

    def gather(self, items: list[Any]) -> list[Any]:
        """Returns the items of all ranks, in the order of ranks."""
        if self.world == 1:
            return list(items)
        everywhere: list[Any] = [None] * self.world
        dist.all_gather_object(everywhere, items)
        return [item for own in everywhere for item in own]

    def device(self) -> torch.device:
        """Returns this rank's device: a GPU of its own where there is one, else the CPU."""
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


class FlatGradients:
    """All gradients as one tensor, and some numbers beside them: one sum over the ranks a step.

    Not torch's DistributedDataParallel: that rebuilds its buckets after the first step, so a resumed run would add in
    another order than the run it continues.
    """

    def __init__(self, model: nn.Module, extra: int) -> None:
        parameters = list(model.parameters())
        self._size = sum(parameter.numel() for parameter in parameters)
        self._flat = torch.zeros(self._size + extra, dtype=parameters[0].dtype, device=parameters[0].device)
        offset = 0
        for parameter in parameters:
            parameter.grad = self._flat[offset:offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()

    @property
    def extra(self) -> Tensor:
        """Returns the numbers beside the gradients; summed with them."""
        return self._flat[self._size:]

    def clear(self) -> None:
        """Sets everything to 0."""
        self._flat.zero_()

    def add_up(self, ranks: Ranks) -> None:
        """Sums everything over the ranks."""
        ranks.add_up(self._flat)

    def clip(self, greatest: float, scale: float = 1.0) -> Tensor:
        """Divides the gradient by `scale`, then scales it down to a norm of at most `greatest`; returns its norm
        between the two."""
        gradient = self._flat[:self._size]
        if scale != 1.0:
            gradient.div_(scale)
        norm = gradient.norm()
        gradient.mul_((greatest / (norm + 1e-6)).clamp(max=1.0))
        return norm


def under_torchrun() -> bool:
    """Returns whether this process was started as one of a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def world_of(ranks: int) -> int:
    """Returns how many processes share the work: torchrun's, or as many as are to be started here."""
    return int(os.environ["WORLD_SIZE"]) if under_torchrun() else ranks


def is_first() -> bool:
    """Returns whether this process is the one that prepares the run folder: any but torchrun's later ones."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined(rank: int, world: int, rendezvous: str) -> Iterator[Ranks]:
    """Yields this process's place in a group of `world`; leaves the group at the end."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    if world == 1:
        yield Ranks()
        return
    if rendezvous.startswith("file://"):     # all on this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", init_method=rendezvous, rank=rank,
                            world_size=world)
    try:
        yield Ranks(rank, world)
        dist.barrier()      # who leaves while another still reads from it ends that one with an abort
    finally:
        dist.destroy_process_group()


def run_ranks(function: Callable[[Ranks, Any], None], job: Any, world: int) -> None:
    """Runs `function(ranks, job)` in `world` processes (in this one for 1) and returns when all have ended.

    SIGTERM and SIGINT are handed on to the processes.  Raises UsageError when one of them did, RuntimeError when one
    ended badly.
    """
    if under_torchrun():
        with joined(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://") as ranks:
            function(ranks, job)
        return
    if world == 1:
        with joined(0, 1, "") as ranks:
            function(ranks, job)
        return
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="imagebert-ranks-") as folder:
        errors = context.SimpleQueue()
        processes = [context.Process(target=_rank_main, name=f"rank-{rank}",
                                     args=(function, job, rank, world, f"file://{folder}/rendezvous", errors))
                     for rank in range(world)]
        for process in processes:
            process.start()
        with _handed_on(processes):
            codes = _wait_for(processes)
        if not errors.empty():
            raise UsageError(errors.get())
        if any(codes):
            raise RuntimeError(f"training ranks ended with exit codes {codes}; what they printed says why")


def _rank_main(function: Callable[[Ranks, Any], None], job: Any, rank: int, world: int, rendezvous: str,
               errors: Any) -> None:
    try:
        with joined(rank, world, rendezvous) as ranks:
            function(ranks, job)
    except UsageError as error:
        errors.put(str(error))
        sys.exit(2)
    except RuntimeError as error:
        if "closed by peer" not in str(error):
            raise
        sys.exit(1)      # the rank that went away first says why
    # All is written and the group is left.  Past here a thread of gloo's now and then aborts the process as it ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _wait_for(processes: list[Any]) -> list[int]:
    """Returns the exit codes; once one has failed, the others get some time and are then killed."""
    running = list(processes)
    failed = False
    while running:
        ended = wait([process.sentinel for process in running], timeout=_GRACE_SECONDS if failed else None)
        if not ended:
            for process in running:
                process.kill()
        for process in [process for process in running if not process.is_alive()]:
            process.join()
            failed = failed or process.exitcode != 0
            running.remove(process)
    return [process.exitcode for process in processes]


@contextlib.contextmanager
def _handed_on(processes: list[Any]) -> Iterator[None]:
    def hand_on(number: int, frame: Any) -> None:
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, number)

    with stop_signals(hand_on):
        yield


@contextlib.contextmanager
def stop_signals(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Calls `handler` on SIGTERM and SIGINT inside the block; does nothing outside the main thread."""
    import threading
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
