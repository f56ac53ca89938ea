"""Communication between the processes that train one trial together; a single process is a group of size 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """One process: `rank` of `size` in torch's process group. All processes of a group must call the same methods."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True if this process writes files and reports for the whole group."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """Return the first process's `value` in every process; it must be picklable."""
        if self.size == 1:
            return value
        import torch.distributed

        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """Return the `value` of every process, ordered by rank, in every process; values must be picklable."""
        if self.size == 1:
            return [value]
        import torch.distributed

        gathered: list[T] = [value] * self.size
        torch.distributed.all_gather_object(gathered, value)
        return gathered

    def shard(self, rows: list[T]) -> list[T]:
        """Return the share of `rows` of this process: every `size`-th row, starting at index `rank`."""
        return rows[self.rank :: self.size]

    def all_gather_rows(self, part: Tensor, count: int) -> Tensor:
        """Gather all rows in their order, in every process.

        Args:
            part: This process's share of the rows (`shard`), float [n_rows, dim].
            count: Number of all rows.

        Returns:
            All rows, float [count, dim], on the device of `part`.
        """
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
    """Return the group of this process: torch's process group if it is initialized, else `SINGLE`."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return ProcessGroup(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return SINGLE
