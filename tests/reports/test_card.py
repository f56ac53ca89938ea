"""Text of the model card; writing it must not contact the Hub, show the data or change the model."""

import copy
import hashlib
import socket

import pytest

from embsweep.config.training import LossConfig, ModelConfig, ObjectiveConfig
from embsweep.core.names import rehearsal_name
from embsweep.reports.card.build import add_places, build_card
from embsweep.selection.evidence import FindingRecord
from embsweep.tracking.registry.files import EVIDENCE_FILE, write_evidence
from tests.reports.card_parsing import body, front_matter, render, section
from tests.reports.card_writing import card_model, write
from tests.reports.evidence_samples import (
    below_base,
    make_evidence,
    make_training,
    make_verdict,
    nine_queries,
    rehearsal,
    replace_values,
    second_evaluation,
    tied,
    typical,
    unconfirmed,
    waived,
)

pytestmark = pytest.mark.slow  # a card needs sentence-transformers

SECTIONS = (
    "## Result", "## Model Details", "### Model Description", "### Full Model Architecture", "## Usage",
    "### Shorter Embeddings", "## Evaluation", "### Test Evaluations", "### Stored Embeddings", "### Metrics",
    "### How This Model Was Chosen", "### Data and Audit", "### Verification", "## Training Details",
    "### Training Dataset", "### Training Run", "### Training Hyperparameters", "### Training Logs",
    "### Framework Versions", "## Citation",
)  # fmt: skip


def notices(card):
    """Return the quoted notices at the top."""
    head = body(card).split("This is a [sentence-transformers]")[0]
    return [line.removeprefix("> ") for line in head.splitlines() if line.startswith("> ")]


def test_sections_of_a_published_card_in_their_order():
    lines = body(write(typical())).splitlines()
    assert [line for line in lines if line in SECTIONS] == list(SECTIONS)


def test_front_matter():
    found = front_matter(write(typical()))
    assert found["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"loss:MatryoshkaLoss", "loss:MultipleNegativesRankingLoss", "dataset_size:900"} <= set(found["tags"])
    assert found["pipeline_tag"] == "sentence-similarity"
    assert not {"widget", "language", "license"} & set(found)


def test_language_and_license_of_the_model():
    model = copy.copy(card_model())
    model.model_card_data = copy.copy(model.model_card_data)
    model.model_card_data.language, model.model_card_data.license = ["de"], "apache-2.0"
    found = front_matter(build_card(typical(), model))
    assert (found["language"], found["license"]) == (["de"], "apache-2.0")


@pytest.mark.parametrize(
    ("evidence", "first"),
    [
        (rehearsal, "**Rehearsal.**"),
        (nine_queries, "**No significant gain.**"),
        (below_base, "**Below its base.**"),
        (waived, "**Waived audit error.** `columns-swapped`: anchors are longer"),
        (second_evaluation, "**The test split was read before: this is its second evaluation.**"),
        (lambda: make_evidence(complete=False), "**Incomplete.**"),
    ],
)
def test_a_notice_is_at_the_top(evidence, first):
    (notice,) = notices(write(evidence()))
    assert notice.startswith(first)


def test_a_clear_winner_has_no_notice():
    card = write(typical())
    assert notices(card) == []
    assert "significantly better" in section(card, "Test Evaluations")
    assert "**" not in body(card).split("## Result")[1].split("\n- Against")[1].split("\n")[0]


def test_several_notices_are_all_shown():
    evidence = make_evidence(
        queries=9, gain=0.03, rehearsal=True, rehearses="bge-m3", holdout_evaluations=3, complete=False
    )
    starts = ["**Rehearsal.**", "**No significant gain.**", "**Incomplete.**", "**The test split was read before"]
    found = notices(write(evidence))
    assert [notice.startswith(start) for notice, start in zip(found, starts, strict=True)] == [True] * 4
    assert "third evaluation" in found[-1]


def test_a_missed_constraint_has_a_notice():
    floors = ObjectiveConfig(metric="map@100", aggregate="mean", floors={64: 0.95})
    (notice,) = notices(write(make_evidence(objective=floors)))
    assert notice.startswith("**Constraint missed on the test split.** map@100 at dimension 64")


def test_a_rehearsal_is_tagged():
    card = write(make_evidence(sweep=rehearsal_name("legal"), rehearsal=True, rehearses="bge-m3"))
    assert "rehearsal" in front_matter(card)["tags"]
    assert "# legal-rehearsal" in card.splitlines()
    assert "say nothing about `bge-m3`" in card


@pytest.mark.parametrize(
    ("evidence", "output"),
    [
        (typical, "Trial 3 was named."),
        (tied, "**Tied:** trial 3 could not be told apart from trial 0 when all were run again."),
        (unconfirmed, "**Unconfirmed:** nothing was run again."),
        (lambda: make_evidence(verdict=make_verdict(confirmed=())), "Trial 3 was named."),
        (lambda: make_evidence(verdict=make_verdict(warnings=("too *few* queries",))), r"too \*few\* queries"),
    ],
)
def test_the_card_describes_the_verdict(evidence, output):
    assert output in section(write(evidence()), "How This Model Was Chosen")


def test_a_result_worse_than_bm25_is_at_the_top():
    evidence = below_base()
    top = body(write(evidence)).split("## Model Details")[0]
    assert "- Against BM25: **significantly worse**" in top
    assert "Serve the base model `minilm`." in top


def test_further_finalists_are_named_by_their_trial():
    evidence = typical()
    third = replace_values(evidence.test["runner-up"], trial=9)
    comparisons = [replace_values(c, reference="trial 9") for c in evidence.comparisons if c.reference == "runner-up"]
    more = make_evidence(test={**evidence.test, "trial 9": third}, comparisons=(*evidence.comparisons, *comparisons))
    evaluations = section(write(more), "Test Evaluations")
    assert "- Against the runner-up (trial 5): " in evaluations
    assert "- Against trial 9: " in evaluations
    assert "| Runner-up | trial 9 |" in evaluations


def test_shorter_embeddings():
    shortened = section(write(make_evidence(smallest_dim=128)), "Shorter Embeddings")
    assert 'SentenceTransformer("sentence_transformers_model_id", truncate_dim=128)' in shortened
    assert "128 is the smallest" in shortened
    full = section(write(make_evidence(smallest_dim=384)), "Shorter Embeddings")
    assert "every smaller dimension is significantly below 384" in full


def test_older_evidence_has_no_section_of_stored_embeddings():
    card = write(make_evidence(quantization=()))
    assert "Stored Embeddings" not in card
    assert "### Metrics\n" in card


def test_the_training_log_names_the_validation_split():
    log = section(write(typical()), "Training Logs")
    assert "**validation** split" in log
    assert "The bold row denotes the saved checkpoint." in log


def test_the_hash_is_that_of_the_stored_file(tmp_path):
    evidence = typical()
    write_evidence(tmp_path, evidence)
    sha256 = hashlib.sha256((tmp_path / EVIDENCE_FILE).read_bytes()).hexdigest()
    assert sha256 in section(write(evidence), "Verification")


def test_a_failed_verification_is_shown():
    verification = replace_values(typical().verification, difference=0.5)
    assert "**did not reproduce**" in section(write(make_evidence(verification=verification)), "Verification")


def test_hyperparameters_are_those_of_the_machine_that_trained():
    training = replace_values(make_training(), facts={"device": "cuda:0", "bf16": True, "fp16": False})
    listed = section(write(make_evidence(training=training)), "Training Hyperparameters").split("#### All")[0]
    for line in ("- `learning_rate`: 3.25e-05", "- `bf16`: True", "- `per_device_eval_batch_size`: 64"):
        assert line in listed
    assert "use_cpu" not in listed


def test_the_prompts_that_the_model_was_trained_with():
    assert "prompt:**" not in section(write(typical()), "Training Run")
    facts = {"device": "cpu", "query_prompt": "Find:\nquery: "}
    card = write(make_evidence(training=replace_values(make_training(), facts=facts)))
    listed = section(card, "Training Run")
    assert r"- **Query prompt:** `'Find:\nquery: '`, in training and evaluation; `encode_query` adds it" in listed
    assert "Document prompt" not in listed
    assert "`prompts`" not in section(card, "Training Hyperparameters")


def test_the_loss_of_the_winner():
    training = make_training()
    config = replace_values(training.config, loss=LossConfig(name="mnrl", scale=33.5))
    card = write(make_evidence(training=replace_values(training, config=config)))
    assert "`scale=33.5`" in section(card, "Training Run")
    assert '"matryoshka_dims"' in section(card, "Training Dataset")


def with_base(source):
    training = make_training()
    model = ModelConfig(name="mine", kind="hub", source=source, dim=384, max_seq_length=128)
    return make_evidence(training=replace_values(training, config=replace_values(training.config, model=model)))


def test_a_base_model_of_the_hub_is_linked_and_a_local_one_is_not_shown(tmp_path):
    assert front_matter(write(with_base("BAAI/bge-m3")))["base_model"] == "BAAI/bge-m3"
    card = write(with_base(str(tmp_path)))
    assert "base_model" not in front_matter(card)
    assert str(tmp_path) not in card


def test_a_local_folder_named_like_a_hub_id_is_not_linked(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "base_model" not in front_matter(write(with_base("models/mine")))


def test_the_card_shows_facts_of_the_data_and_no_content():
    config = {
        "kind": "files",
        "pairs": "/home/me/secret.jsonl",
        "anchor": "frage",
        "negative": "falsch",
        "max_pairs": 7,
    }
    card = write(make_evidence(data=replace_values(typical().data, config=config)))
    for hidden in ("secret", "frage", "falsch"):
        assert hidden not in card
    assert "`kind=files`, `max_pairs=7`" in card
    assert "<code>negative</code>" in section(card, "Training Dataset")
    assert "Samples:" not in card


def test_markup_in_a_finding_is_escaped():
    finding = FindingRecord(
        name="x`y", severity="warning", message="<script>alert(1)</script> a|b [l](http://x) *c*\nd"
    )
    card = write(make_evidence(audit=(finding,)))
    html = render(card)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; a|b [l](http://x) *c* d" in html


def test_no_text_of_the_evidence_is_parsed_as_markup():
    evil = "<script>x</script> [l](http://evil) {{ 7*7 }} | `a` *b*\n\n# New\n- item"
    sample = typical()
    data = {"name": evil, "fingerprint": evil, "sizes": {evil: 3}, "merged": (evil,), "config": {"id": evil}}
    training = {"params": {evil: evil}, "facts": {evil: evil}, "run": evil}
    findings = (
        FindingRecord(name=evil, severity="error", message=evil),
        FindingRecord(name="w", severity="error", message=evil, waived=True),
    )
    card = write(
        make_evidence(
            study=evil,
            base_model=evil,
            created_at=evil,
            rehearsal=True,
            rehearses=evil,
            counts={evil: 1},
            space={evil: evil},
            versions={evil: evil},
            data=replace_values(sample.data, **data),
            audit=findings,
            training=replace_values(sample.training, **training),
            verdict=make_verdict(rule=evil, warnings=(evil,), comparisons=sample.comparisons),
            test={**sample.test, evil: sample.test["runner-up"]},
            comparisons=tuple(replace_values(c, reference=evil) for c in sample.comparisons),
        )
    )
    html = render(card)
    assert html.count("&lt;script&gt;") > 20
    assert "{{ 7*7 }}" in html
    for parsed in ("<script>", 'href="http://evil', "<h1>New", "<em>b</em>", "<li>item"):
        assert parsed not in html


def test_the_hub_is_never_contacted(monkeypatch):
    requests = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: requests.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: requests.append(args))
    write(with_base("BAAI/bge-m3"))
    assert requests == []


def test_the_model_is_not_changed():
    model = card_model()
    data = model.model_card_data
    before = {name: copy.copy(value) for name, value in vars(data).items() if name != "model"}
    write(typical())
    assert model.model_card_data is data
    assert {name: value for name, value in vars(data).items() if name != "model"} == before
    assert model.truncate_dim is None


def test_the_same_evidence_gives_the_same_card():
    assert write(typical()) == write(typical())


def test_another_template_is_refused():
    with pytest.raises(ValueError, match="card template"):
        add_places("# a template of another version")
