"""A reporter for tests."""


class Recorder:
    """A reporter that remembers, and stops when told."""

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
