"""The processes that train one trial together, and what they tell each other; one process alone is a group too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """One process: `rank` of `size` in torch's process group. All of a group call its methods together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks for all."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """The first one's `value`, in every process; picklable."""
        if self.size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Everyone's `value` by rank, in every process; picklable."""
        if self.size == 1:
            return [value]
        import torch.distributed

        found: list[T] = [value] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def shard(self, rows: list[T]) -> list[T]:
        """The share of `rows` that falls to this process: every size-th one from its rank."""
        return rows[self.rank :: self.size]

    def all_gather_rows(self, part: Tensor, count: int) -> Tensor:
        """All `count` rows in order, float [count, dim], out of everyone's `part` of them, on `part`'s device."""
        if self.size == 1:
            return part
        import torch
        import torch.distributed

        rows = -(-count // self.size)
        padded = torch.cat([part, part.new_zeros(rows - len(part), part.shape[1])])
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        torch.distributed.all_gather(parts, padded.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)[:count]


SINGLE = ProcessGroup()


def current_group() -> ProcessGroup:
    """The group that this process was started in: torch's process group, or none."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return SINGLE
