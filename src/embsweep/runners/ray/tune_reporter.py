"""Reporter of a trial in its Tune process; `TuneAdapter` receives its messages in the driver."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray
from ray import tune

from embsweep.runners.ray.gpu_health import Card
from embsweep.training.messages import MESSAGE, AttemptAborted, Message, TrialReport, TrialResult, TrialStarted

MESSAGE_KEY = "message"
"""Key of a trial's message in the dictionary that is reported to Tune, and the metric, which Tune requires in each."""

WORKER_LOST_KEY = "loss of the process"
GPU_KEY = "GPU of the process"
_HOLD_S = 1.0


class TuneReporter:
    """Reporter of a trial in a Tune process. Tune stops a trial by raising SystemExit in `tune.report`."""

    is_stopped = False

    def claim_gpu(self, out_of_use: Sequence[str]) -> bool:
        """Report the GPU of this process, and return whether the trial may run on it.

        On a GPU out of use it may not. The process then blocks, and so holds the GPU, until the driver stops it.

        Args:
            out_of_use: Keys of the GPUs that were out of use when the trial was suggested.
        """
        card = find_card()
        message = {MESSAGE_KEY: "", GPU_KEY: asdict(card)}
        while not self._post(message):
            if card.key not in out_of_use:
                return True
            time.sleep(_HOLD_S)
        return False

    def start(self, started: TrialStarted) -> None:
        """See `Reporter.start`."""
        if self._send(started):
            raise AttemptAborted

    def report(self, report: TrialReport) -> bool:
        """See `Reporter.report`."""
        return self._send(report)

    def finish(self, result: TrialResult) -> None:
        """See `Reporter.finish`."""
        self._send(result)

    def report_worker_loss(self, reason: str) -> None:
        """Report why this process is about to raise: workers died before the trial ended."""
        if not self.is_stopped:
            tune.report({MESSAGE_KEY: "", WORKER_LOST_KEY: reason})

    def _send(self, message: Message) -> bool:
        return self._post({MESSAGE_KEY: MESSAGE.dump_json(message).decode()})

    def _post(self, metrics: dict[str, Any]) -> bool:
        """Send a message, unless the trial is stopped, and return whether it is: the driver has closed it then."""
        if not self.is_stopped:
            try:
                tune.report(metrics)
            except SystemExit:
                self.is_stopped = True
        return self.is_stopped


def find_card() -> Card:
    """Return the GPU that Ray assigned to this process."""
    context = ray.get_runtime_context()
    return Card(context.get_node_id(), platform.node(), ",".join(context.get_accelerator_ids()["GPU"]))
