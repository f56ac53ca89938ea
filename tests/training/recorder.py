"""A reporter for tests that keeps what a trial reports, and its result."""

from embsweep.training import trial


class Recorder:
    """Keeps every message; answers the report at fraction `stop_at` with a stop."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.started, self.reports, self.results = [], [], []

    def start(self, started):
        self.started.append(started)

    def report(self, report):
        self.reports.append(report)
        return report.fraction == self.stop_at

    def finish(self, result):
        self.results.append(result)


def run_trial(job, recorder, data, **given):
    """Run a trial and give its result to the recorder, as `run_attempt` does."""
    recorder.finish(trial.run_trial(job, recorder, data, **given))
