"""The stage follows from facts alone."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from embedmig.stages import Facts, Stage, missing_for_ramp, next_step, stage_of

READY = Facts(
    collection="docs",
    source="v1",
    target="v2",
    target_has_vectors=True,
    target_complete=True,
    index_valid=True,
    report_stands=True,
    handed_over=True,
)

any_facts = st.builds(
    Facts,
    collection=st.just("docs"),
    source=st.just("v1"),
    target=st.sampled_from([None, "v2"]),
    target_has_vectors=st.booleans(),
    target_complete=st.booleans(),
    index_valid=st.booleans(),
    report_stands=st.booleans(),
    handed_over=st.booleans(),
    share_bp=st.integers(0, 10_000),
    stability_left_s=st.floats(-1e6, 1e6),
    retired=st.booleans(),
)


def test_each_missing_fact_holds_the_stage_back_by_itself() -> None:
    assert stage_of(READY) is Stage.HANDED_OVER
    assert stage_of(replace(READY, handed_over=False)) is Stage.VALIDATED
    assert stage_of(replace(READY, report_stands=False)) is Stage.INDEXED
    assert stage_of(replace(READY, index_valid=False)) is Stage.BACKFILLED
    assert stage_of(replace(READY, target_complete=False)) is Stage.BACKFILLING
    assert stage_of(replace(READY, target_has_vectors=False)) is Stage.EXPANDED
    assert stage_of(replace(READY, target=None)) is Stage.REGISTERED


def test_stability_is_counted_only_at_full_share() -> None:
    assert stage_of(replace(READY, share_bp=9_999)) is Stage.RAMPING
    assert stage_of(replace(READY, share_bp=10_000, stability_left_s=1)) is Stage.STABILISING
    assert stage_of(replace(READY, share_bp=10_000, stability_left_s=0)) is Stage.STABLE


@given(any_facts)
def test_every_state_names_a_command_that_leads_on(facts: Facts) -> None:
    step = next_step(facts)
    assert step.command.startswith("embedmig ")
    assert "docs" in step.command
    assert step.why or facts.report_why_not == ""


@given(any_facts)
def test_a_ramp_needs_all_four_and_says_each_one_that_is_missing(facts: Facts) -> None:
    wanted = [facts.target_complete, facts.index_valid, facts.report_stands, facts.handed_over]
    assert len(missing_for_ramp(facts)) == wanted.count(False)
