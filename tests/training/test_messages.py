"""Messages are unchanged after a round trip through JSON."""

from hypothesis import given
from hypothesis import strategies as st

from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted, from_text, to_text

numbers = st.floats(allow_nan=False)
maybe = st.none() | numbers
scores = st.dictionaries(st.integers(1, 4096), st.dictionaries(st.sampled_from(["map@100", "mrr@10"]), numbers))
started = st.builds(
    TrialStarted, st.integers(1), st.text(), numbers, numbers, numbers, st.just({"device": "cpu", "n": 1})
)
reports = st.builds(
    TrialReport, numbers, st.integers(0), numbers, numbers, numbers, numbers, scores, maybe, maybe, numbers
)
results = st.builds(
    TrialResult,
    st.sampled_from(Outcome),
    maybe,
    st.none() | scores,
    st.none() | st.text(),
    numbers,
    st.none() | st.text(),
)


@given(started | reports | results)
def test_round_trip(message):
    text = to_text(message)
    assert "\n" not in text
    assert from_text(text) == message
