"""Which GPUs are out of use after processes broke on them, and which trials are themselves the cause."""

import pytest

from embsweep.runners.ray.gpu_health import Card, GpuHealth

GPU_0, GPU_1, GPU_2 = (Card("node", "host", str(number)) for number in range(3))
REASON = "CUDA error: an illegal memory access was encountered; its process ended"


class Told(GpuHealth):
    """The record of a run with three GPUs, with the lines for the user in `lines`."""

    def __init__(self, gpus=3):
        self.lines = []
        super().__init__(can_spare=lambda out_of_use: out_of_use < gpus, warn=self.lines.append)

    def break_on(self, *breaks):
        """Record breaks (card, trial), and return the trials that are the cause themselves."""
        return [number for card, number in breaks if self.record_break(card, number, REASON)]


def test_a_gpu_is_out_of_use_after_two_breaks_in_a_row_with_one_line():
    health = Told()
    assert health.break_on((GPU_2, 4)) == []
    assert (health.out_of_use, health.is_suspect(GPU_2)) == (set(), True)
    assert health.break_on((GPU_2, 7), (GPU_2, 8)) == []
    assert health.out_of_use == {GPU_2}
    assert health.lines == [
        "GPU 2 of host host is out of use: CUDA failed there in trials 4 and 7: "
        "CUDA error: an illegal memory access was encountered"
    ]


def test_a_regular_end_between_two_breaks_keeps_the_gpu():
    health = Told()
    health.break_on((GPU_2, 4))
    health.record_end(GPU_2)
    assert health.break_on((GPU_2, 7)) == []
    assert health.out_of_use == set()


def test_a_trial_that_breaks_on_two_gpus_is_the_cause_and_its_breaks_count_for_neither():
    health = Told()
    assert health.break_on((GPU_0, 4), (GPU_0, 4)) == [], "a trial may meet the same GPU twice"
    assert health.out_of_use == {GPU_0}
    assert health.break_on((GPU_1, 4)) == [4]
    assert health.out_of_use == set()
    assert "GPU 0 of host host is used again: trial 4 is the cause" in health.lines[-1]
    assert not health.is_suspect(GPU_0)
    assert not health.is_suspect(GPU_1)


def test_a_trial_is_the_cause_also_if_another_one_ended_regularly_where_it_broke():
    health = Told()
    health.break_on((GPU_0, 4))
    health.record_end(GPU_0)
    assert health.break_on((GPU_1, 4)) == [4]


def test_the_breaks_of_other_trials_keep_a_gpu_out_of_use():
    health = Told()
    assert health.break_on((GPU_0, 3), (GPU_0, 5), (GPU_0, 4), (GPU_1, 4)) == [4]
    assert health.out_of_use == {GPU_0}


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_last_gpu_is_never_taken_out_of_use(gpus):
    health = Told(gpus)
    health.break_on((GPU_0, 1), (GPU_0, 2), (GPU_1, 3), (GPU_1, 4))
    assert len(health.out_of_use) == gpus - 1


def test_all_gpus_are_used_again_if_the_others_are_lost():
    health = Told()
    health.break_on((GPU_0, 1), (GPU_0, 2))
    health.require_capacity()
    assert health.out_of_use == {GPU_0}
    health.can_spare = lambda out_of_use: False
    health.require_capacity()
    assert (health.out_of_use, health.is_suspect(GPU_0)) == (set(), False)
