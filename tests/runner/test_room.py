"""A cluster that shrinks until no trial fits any more: the sweep says so instead of waiting for ever."""

import pytest

from embsweep.errors import EmbsweepError
from embsweep.runner import ray_tune
from embsweep.runner.slots import Machine, Slots, count_places

from .clusters import QUICK_TO_NOTICE, utils_cluster
from .conftest import FakeDesk, scripted_work


@pytest.mark.parametrize(
    ("slots", "machines", "places"),
    [
        (Slots(1, 2, 0.0), [Machine(3, 0), Machine(1, 0)], 1),
        (Slots(1, 2, 2.0, workers=2), [Machine(8, 1)], 1),
        (Slots(1, 2, 2.0, workers=2), [Machine(8, 1), Machine(1, 4)], 2),
        (Slots(4, 1, 0.5), [Machine(8, 1), Machine(8, 0)], 2),
        (Slots(1, 1, 0.0), [], 0),
    ],
)
def test_places(slots, machines, places):
    assert count_places(slots, machines) == places


class LosingDesk(FakeDesk):
    """Calls `lose` as soon as a trial has started."""

    def started(self, number, started):
        super().started(number, started)
        self.lose()


@pytest.mark.ray
@pytest.mark.slow
def test_the_loss_of_the_only_node_ends_the_sweep_with_the_reason(make_config, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray_tune, "PATIENCE_S", 4.0)
    ray.shutdown()  # an earlier test's
    with utils_cluster(*({"num_cpus": cpus, "env_vars": QUICK_TO_NOTICE} for cpus in (0, 1))) as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        (lost,) = cluster.worker_nodes
        desk = LosingDesk(make_config().trial, tmp_path, 3)
        desk.lose = lambda: cluster.remove_node(lost, allow_graceful=False)
        runner = ray_tune.RayRunner(Slots(1, 1, 0.0), tmp_path / "scratch", has_other_machines=True)
        with pytest.raises(EmbsweepError, match=r"needs 1 workers of 1 CPUs and 0 GPUs.*room for 0"):
            runner.run(desk, scripted_work(pause_s=60.0))
    assert not desk.results, "no trial is blamed for it"
