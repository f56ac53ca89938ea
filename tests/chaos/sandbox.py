"""A sweep that is cheap enough to be killed a thousand times: sixty pairs, a tiny real model, scripted training."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.toy_models import make_noisy

PAIRS, DIM, NOISE = 60, 16, 5.0
FRACTIONS = (0.25, 0.5, 0.75, 1.0)
NAME = "chaos"


@dataclass(frozen=True)
class Sandbox:
    """A storage folder, with the model, the pairs and the trace of every trained interval beside it."""

    root: Path

    @property
    def storage(self):
        return self.root / "storage"

    @property
    def folder(self):
        return self.storage / "sweeps" / NAME

    @property
    def ledger(self):
        return self.folder / "study.db"

    @property
    def trace(self):
        return self.root / "trace.jsonl"

    def open_mlflow(self):
        """Return a client of the MLflow database."""
        from embsweep.tracking.connection import connect

        return connect(f"sqlite:///{self.storage}/mlflow.db")

    def arguments(self, *more):
        """Return the arguments of a command line; `more` replaces arguments with the same key."""
        common = [
            "+sweep=quickstart", "model=static", "model.kind=hub", f"model.source={self.root / 'model'}",
            "model.name=tiny", f"model.dim={DIM}", "matryoshka.dims=[16,8]", "data=files",
            f"data.pairs={self.root / 'pairs.jsonl'}", "data.anchor=anchor", "data.positive=positive",
            "data.max_pairs=null", "data.split.validation=0.3", "data.split.test=0.3", "train.batch_size=8",
            f"eval.fractions={list(FRACTIONS)}".replace(" ", ""), "train.learning_rate=interval(1e-3,1e-1)",
            "matryoshka=from_384", "matryoshka.weight_power=interval(-1.0,1.0)", "train.warmup=0.1",
            "stopping.min_fraction=0.25",
            "confirm.finalists=2", "confirm.seeds=2", f"storage.path={self.storage}", f"sweep.name={NAME}",
            "sweep.max_failed_trials=30", "runner=inline", "report.at_end=false",
        ]  # fmt: skip
        keys = {argument.split("=")[0] for argument in more}
        keys |= {"confirm.seeds"} if "confirm=none" in more else set()  # else these seeds would be run all the same
        return [*(argument for argument in common if argument.split("=")[0] not in keys), *more]


def make_sandbox(root):
    """Write the model and the pairs to `root`."""
    root.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(root.resolve())
    rows = [json.dumps({"anchor": f"q{i}", "positive": f"p{i}"}) + "\n" for i in range(PAIRS)]
    (root / "pairs.jsonl").write_text("".join(rows), "ascii")
    model = make_noisy(PAIRS, DIM, NOISE)  # the scripted training removes the noise
    model.save_pretrained(str(root / "model"), create_model_card=False)
    return sandbox
