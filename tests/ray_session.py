"""One Ray instance for all tests of a process: started when first needed, and again if a test has shut it down."""

_address = None

CPUS = GPUS = 2


def join_session(folder):
    """Start Ray as the runner does, with capacity for two trials of one CPU. A `RayRunner` joins a running Ray.

    It has two GPUs, which exist only in its accounting.
    """
    global _address  # noqa: PLW0603
    import ray

    from embsweep.runners.ray.runner import RayRunner
    from embsweep.runners.resources import Machine, Slots

    if ray.is_initialized() and ray.get_runtime_context().gcs_address == _address:
        return
    ray.shutdown()
    runner = RayRunner()
    runner.use(Slots(count=CPUS, cpus=1, gpus=0.0), folder, Machine(CPUS, GPUS))
    runner.connect()
    _address = ray.get_runtime_context().gcs_address
