"""Each recipe passes every check before a rehearsal on a real set of its language."""

import pytest

from embsweep.runners.resources import Machine

pytestmark = pytest.mark.slow

SETS = [
    ("es_boe", "es_ar_civil_code"),
    ("es_boe", "xquad_es"),
    ("ca_procedures", "xquad_es"),
    ("de_tax", "de_tax_pension_law"),
    ("de_tax", "xquad_de"),
]


@pytest.mark.parametrize(("name", "data"), SETS)
def test_a_recipe_passes_the_checks_before_a_rehearsal(request_of, shared_data, tmp_path, monkeypatch, name, data):
    from embsweep.sweep.checks.preflight import check_request

    monkeypatch.setattr("embsweep.runners.base.inspect_machine", lambda: Machine(2, 0))
    monkeypatch.setattr("embsweep.sweep.checks.preflight.has_usable_gpu", lambda: False)
    folder = shared_data / data
    if not folder.is_dir():
        pytest.skip(f"../shared/data/{data} is absent")
    request = request_of(name, "data=beir", f"data.path={folder}", f"storage.path={tmp_path}")
    prepared = check_request(request)
    assert prepared.scale.is_rehearsal
    assert prepared.recipe.model.kind == "minilm_3_layers"
    assert (
        prepared.recipe.trial.eval_dims[0] == prepared.recipe.model.dim * prepared.requested.trial.eval_dims[0] // 1024
    )
    assert prepared.recipe.train.epochs <= prepared.recipe.scale.rehearsal.max_epochs
    assert 2 <= len(prepared.splits.train) <= 750
    assert len(prepared.folds) == (2 if name == "ca_procedures" else 0)
