"""Sweeps whose scores follow from a rule: the trainer sets the weights by the rule, everything else is real.

Question `qI` of a word table is its passage `pI` plus noise; the remaining noise determines every metric. Differences
are large or exactly zero, so that nothing depends on rounding.
"""

import json

import numpy as np

from tests.chaos.scripted import STEPS, ScriptedTrainer
from tests.toy_models import make_noisy

PAIRS, DIM, BASE_NOISE = 60, 16, 5.0
GOOD, FAIR, POOR = 0.05, 0.9, 2.5
"""Remaining noise, with which almost all, about two thirds, or few of the passages are found."""


def by_learning_rate(train):
    """Return the remaining noise by the rule of most sweeps: a learning rate below 1e-3 learns little."""
    return GOOD if train.learning_rate > 1e-3 else POOR


def write_inputs(folder):
    """Write pairs and base model to `folder` and return the overrides of a sweep that uses them."""
    rows = [json.dumps({"anchor": f"q{i}", "positive": f"p{i}"}) + "\n" for i in range(PAIRS)]
    (folder / "pairs.jsonl").write_text("".join(rows), "ascii")
    make_noisy(PAIRS, DIM, BASE_NOISE).save_pretrained(str(folder / "model"), create_model_card=False)
    return (
        "model=static", "model.kind=hub", f"model.source={folder / 'model'}", "model.name=tiny", f"model.dim={DIM}",
        "matryoshka=from_384", "matryoshka.dims=[16,8]", f"data.pairs={folder / 'pairs.jsonl'}", "data.anchor=anchor",
        "data.positive=positive", "data.split.validation=0.3", "data.split.test=0.3", "stopping=none",
    )  # fmt: skip


def use_rule(patch, rule):
    """Until `patch` is undone, trials of this process produce weights with the noise `rule(config.train)`."""
    from embsweep.training import trainer as train

    patch.setattr(train, "build_trainer", lambda job, model, loss, pairs, choice: _RuledTrainer(job, model, loss, rule))
    patch.setattr(train, "describe_training", lambda trainer, config: {"device": "cpu"})


class _RuledTrainer(ScriptedTrainer):
    def __init__(self, job, model, loss, rule):
        super().__init__(job, model, loss)
        self._rule = rule

    def _step(self):
        import torch

        self.state.global_step += 1
        self.state.epoch = self.state.global_step / STEPS
        table = self.model[0].embedding.weight
        drawn = np.random.default_rng(11).normal(size=(PAIRS, DIM)).astype(np.float32)
        with torch.no_grad():
            table[:PAIRS] = table[PAIRS:] + self._rule(self.job.config.train) * torch.from_numpy(drawn)
        self.loss(torch.tensor(1.0 / self.state.global_step))
