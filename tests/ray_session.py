"""One Ray for all tests of a process: started by the first that asks, and again where a test has left it."""

_address = None

CPUS = 2


def join_session(folder):
    """Ray with room for two trials of one CPU, as the runner starts it. A `RayRunner` joins what is there."""
    global _address  # noqa: PLW0603
    import ray

    from embsweep.runners.ray.runner import RayRunner
    from embsweep.runners.resources import Slots

    if ray.is_initialized() and ray.get_runtime_context().gcs_address == _address:
        return
    ray.shutdown()
    RayRunner(Slots(count=CPUS, cpus=1, gpus=0.0), folder)._init_ray()
    _address = ray.get_runtime_context().gcs_address
