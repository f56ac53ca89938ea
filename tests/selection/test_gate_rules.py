"""Which keys of a rule are looser than those of conf/gate/standard.yaml."""

import pytest

from embsweep.config.sweep import GateConfig
from embsweep.selection.gate_rules import find_looser_keys

STANDARD = GateConfig(against_base="significant", against_champion="significant", margin=0.0, alpha=0.05)


@pytest.mark.parametrize(
    ("changes", "standard", "looser"),
    [
        ({}, {}, ()),
        ({"alpha": 0.01, "margin": 0.02}, {}, ()),
        ({"alpha": 0.1}, {}, ("alpha",)),
        ({"against_base": "higher"}, {}, ("against_base",)),
        ({"against_champion": "not_worse", "margin": 0.01}, {}, ("against_champion", "margin")),
        (
            {"against_base": "not_worse", "against_champion": "not_worse", "margin": 0.99, "alpha": 0.4},
            {},
            ("against_base", "against_champion", "margin"),
        ),
        ({"margin": 0.0}, {"margin": 0.01}, ("margin",)),
        ({}, {"against_base": "higher"}, ()),
        ({"dims": (64,)}, {}, ("dims",)),
        ({"dims": (256, 64, 32)}, {}, ()),
        ({"dims": (256,)}, {"dims": (256,)}, ()),
        ({"dims": (256,)}, {"dims": (64,)}, ("dims",)),
    ],
)
def test_looser_keys(changes, standard, looser):
    gate, limits = STANDARD.model_copy(update=changes), STANDARD.model_copy(update=standard)
    assert find_looser_keys(gate, limits, (256, 64)) == looser
