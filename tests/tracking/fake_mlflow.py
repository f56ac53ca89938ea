"""MLflow in memory, as far as runs are written to it, and a client whose requests are lost, repeated or refused."""

import itertools
import re
import time
from types import SimpleNamespace

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

REQUESTS = frozenset(
    {
        "create_run",
        "search_runs",
        "log_batch",
        "log_inputs",
        "log_text",
        "delete_tag",
        "update_run",
        "set_terminated",
        "delete_run",
        "get_metric_history",
        "get_experiment",
        "set_experiment_tag",
    }
)
"""The requests by which runs are written."""


class Page(list):
    token = None


class FakeMlflow:
    """Client of an MLflow with one experiment; `test_the_fake_is_like_mlflow` compares it with the real one."""

    experiment_id = "1"

    def __init__(self):
        self.runs, self.points, self.texts, self.inputs = {}, {}, {}, {}
        self.experiment_tags = {}
        self._numbers = itertools.count()

    @property
    def client(self):
        return self

    def create_run(self, experiment_id, start_time, tags, run_name):
        run_id = f"run{next(self._numbers)}"
        info = SimpleNamespace(
            run_id=run_id,
            experiment_id=experiment_id,
            run_name=run_name,
            status="RUNNING",
            start_time=start_time,
            end_time=None,
        )
        self.runs[run_id] = SimpleNamespace(info=info, data=SimpleNamespace(params={}, tags=dict(tags), metrics={}))
        self.points[run_id], self.texts[run_id], self.inputs[run_id] = set(), {}, []
        return self.runs[run_id]

    def search_runs(self, experiment_ids, filter_string, order_by=None, page_token=None, max_results=None):
        wanted = dict(re.findall(r"tags\.`([^`]+)` = '([^']*)'", filter_string))
        found = [run for run in self.runs.values() if wanted.items() <= run.data.tags.items()]
        return Page(sorted(found, key=lambda run: run.info.start_time))

    def log_batch(self, run_id, metrics=(), params=(), tags=(), *, synchronous):
        run = self._find(run_id)
        run.data.params |= {param.key: param.value for param in params if param.key not in run.data.params}
        run.data.tags |= {tag.key: tag.value for tag in tags}
        self.points[run_id] |= {(metric.key, metric.step, metric.timestamp, metric.value) for metric in metrics}
        run.data.metrics = {name: value for name, *_, value in sorted(self.points[run_id])}

    def log_inputs(self, run_id, datasets):
        self.inputs[self._find(run_id).info.run_id] += datasets

    def log_text(self, run_id, text, path):
        self.texts[self._find(run_id).info.run_id][path] = text

    def delete_tag(self, run_id, key):
        if self._find(run_id).data.tags.pop(key, None) is None:
            raise MlflowException(f"no tag {key}", RESOURCE_DOES_NOT_EXIST)

    def update_run(self, run_id, status):
        self._find(run_id).info.status = status

    def set_terminated(self, run_id, status, end_time=None):
        run = self._find(run_id)
        run.info.status, run.info.end_time = status, end_time or round(time.time() * 1000)

    def delete_run(self, run_id):
        self._find(run_id)
        del self.runs[run_id]

    def get_metric_history(self, run_id, key):
        return [
            SimpleNamespace(key=name, step=step, timestamp=at_ms, value=value)
            for name, step, at_ms, value in self.points[run_id]
            if name == key
        ]

    def get_experiment(self, experiment_id):
        return SimpleNamespace(experiment_id=experiment_id, tags=dict(self.experiment_tags))

    def set_experiment_tag(self, experiment_id, key, value):
        self.experiment_tags[key] = value

    def _find(self, run_id):
        if run_id not in self.runs:
            raise MlflowException(f"no run {run_id}", RESOURCE_DOES_NOT_EXIST)
        return self.runs[run_id]


class Faulty:
    """A store whose client calls `fault(request)` before every request: `lost`, `unanswered`, `twice` or None.

    `requests` are the names of all requests.
    """

    def __init__(self, client, experiment_id, fault=lambda request: None):
        self.experiment_id, self.requests = experiment_id, []
        self._client, self.fault = client, fault

    @property
    def client(self):
        return self

    def __getattr__(self, name):
        request = getattr(self._client, name)
        if name not in REQUESTS:
            return request

        def send(*args, **kwargs):
            self.requests.append(name)
            fault = self.fault(name)
            if fault == "lost":
                raise ConnectionError(f"https://ann:hunter2@host: the request {name} was lost")
            answer = request(*args, **kwargs)
            if fault == "twice":
                answer = _send_again(request, args, kwargs, answer)
            if fault == "unanswered":
                raise TimeoutError(f"the answer to {name} was lost")
            return answer

        return send


def _send_again(request, args, kwargs, answer):
    try:
        return request(*args, **kwargs)
    except MlflowException:  # nothing is left to delete
        return answer
