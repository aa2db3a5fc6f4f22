"""Which slot answers."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmig.errors import NotFoundError, SettingsError, UsageError
from embedmig.search.routing import (
    Pin,
    choose_slot,
    explain_choice,
    idle_variables,
    pinned_slot,
    read_pin,
    require_routing_key,
    routing_bucket,
    variable_of,
)
from tests.unit.search.servings import V1, V2, migrating, settled

NEW_PIN = Pin(value="new", variable="EMBEDMIG_ACTIVE_INDEX")


@given(st.text())
def test_a_key_always_falls_into_the_same_of_10_000_buckets(key: str) -> None:
    bucket = routing_bucket(key)
    assert 0 <= bucket < 10_000
    assert bucket == int(hashlib.md5(key.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) % 10_000


@given(st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_raising_the_share_only_adds_keys_to_the_target(key: str, one: int, other: int) -> None:
    lower, higher = (
        choose_slot(migrating(share_bp=share), None, key).slot.name == "v2" for share in sorted((one, other))
    )
    assert higher or not lower


@pytest.mark.parametrize("share_bp", [500, 2_500, 5_000])
def test_the_share_of_keys_is_the_share_of_the_route(share_bp: int) -> None:
    serving, keys = migrating(share_bp=share_bp), 20_000
    hits = sum(choose_slot(serving, None, f"user-{n}").slot.name == "v2" for n in range(keys))
    deviation = (share_bp / 10_000 * (1 - share_bp / 10_000) / keys) ** 0.5
    assert abs(hits / keys - share_bp / 10_000) < 4 * deviation


def test_no_key_falls_to_the_target_at_0_and_every_key_at_100() -> None:
    keys = [f"user-{n}" for n in range(500)]
    assert {choose_slot(migrating(share_bp=0), None, key).slot.name for key in keys} == {"v1"}
    assert {choose_slot(migrating(share_bp=10_000), None, key).slot.name for key in keys} == {"v2"}


def test_without_a_key_the_source_serves_below_100_and_the_target_at_100() -> None:
    assert choose_slot(migrating(share_bp=9_999), None, None).slot.name == "v1"
    assert choose_slot(migrating(share_bp=10_000), None, None).slot.name == "v2"


def test_with_no_migration_open_the_only_slot_serves_whatever_the_share() -> None:
    assert choose_slot(settled(V2, share_bp=0), None, "user").slot.name == "v2"
    assert choose_slot(settled(V1, share_bp=10_000), None, "user").slot.name == "v1"


def test_a_pin_wins_over_the_route() -> None:
    serving = migrating(share_bp=0)
    choice = choose_slot(serving, (NEW_PIN, V2), "user")
    assert (choice.slot, choice.pin) == (V2, NEW_PIN)


@pytest.mark.parametrize(("value", "slot"), [("old", "v1"), ("new", "v2"), ("v1", "v1"), ("v2", "v2")])
def test_old_and_new_are_source_and_target_and_names_are_slots(value: str, slot: str) -> None:
    assert pinned_slot(migrating(), Pin(value=value, variable="X")).name == slot


@pytest.mark.parametrize("value", ["old", "new"])
def test_with_no_migration_open_old_and_new_mean_the_only_slot(value: str) -> None:
    assert pinned_slot(settled(V2), Pin(value=value, variable="X")).name == "v2"


def test_a_pin_to_an_unknown_slot_names_those_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"no slot v9 of docs; there are: v1, v2: EMBEDMIG_ACTIVE_INDEX names it"):
        pinned_slot(migrating(), Pin(value="v9", variable="EMBEDMIG_ACTIVE_INDEX"))


@pytest.mark.parametrize("value", ["auto", "AUTO", " auto ", ""])
def test_auto_follows_the_stored_route(value: str) -> None:
    assert read_pin(value, {}, "docs", 1) is None


def test_old_and_new_are_read_in_any_case_and_slot_names_as_they_are() -> None:
    assert read_pin("NEW", {}, "docs", 1) == Pin(value="new", variable="active_index")
    assert read_pin("v2", {"EMBEDMIG_ACTIVE_INDEX": "v2"}, "docs", 1) == Pin(
        value="v2", variable="EMBEDMIG_ACTIVE_INDEX"
    )


def test_the_collections_own_variable_wins_also_with_auto() -> None:
    assert read_pin("old", {"EMBEDMIG_ACTIVE_INDEX_DOCS": "v2"}, "docs", 1) == Pin(
        value="v2", variable="EMBEDMIG_ACTIVE_INDEX_DOCS"
    )
    assert read_pin("old", {"EMBEDMIG_ACTIVE_INDEX_DOCS": "auto"}, "docs", 1) is None
    assert read_pin("old", {"EMBEDMIG_ACTIVE_INDEX_OTHER": "v2"}, "docs", 1).value == "old"


def test_a_member_of_a_larger_group_is_pinned_by_old_and_new_for_all_only() -> None:
    assert read_pin("new", {}, "docs", 3).value == "new"
    with pytest.raises(SettingsError, match="EMBEDMIG_ACTIVE_INDEX_DOCS=new: docs is one of 3 collections"):
        read_pin("auto", {"EMBEDMIG_ACTIVE_INDEX_DOCS": "new"}, "docs", 3)
    with pytest.raises(SettingsError, match="v2: docs is one of 3 collections"):
        read_pin("v2", {"EMBEDMIG_ACTIVE_INDEX": "v2"}, "docs", 3)


def test_a_collections_variable_is_its_name_in_capitals() -> None:
    assert variable_of("docs") == "EMBEDMIG_ACTIVE_INDEX_DOCS"
    assert variable_of("Odd name-2") == "EMBEDMIG_ACTIVE_INDEX_ODD_NAME_2"


@pytest.mark.parametrize("key", [42, b"user", ["user"]])
def test_a_routing_key_is_text(key: object) -> None:
    with pytest.raises(UsageError, match="a routing key is text"):
        require_routing_key(key)


def test_the_explanation_says_what_decided() -> None:
    serving = migrating(share_bp=2_500)
    inside = next(key for key in map(str, range(1_000)) if routing_bucket(key) < 2_500)
    outside = next(key for key in map(str, range(1_000)) if routing_bucket(key) >= 2_500)
    assert "gives the target 25 % since 2026-01-01" in explain_choice(serving, choose_slot(serving, None, inside))
    assert "in that share" in explain_choice(serving, choose_slot(serving, None, inside))
    assert "outside that share" in explain_choice(serving, choose_slot(serving, None, outside))
    assert "no routing key" in explain_choice(serving, choose_slot(serving, None, None))
    pinned = explain_choice(serving, choose_slot(serving, (NEW_PIN, V2), "user"))
    assert pinned.startswith("EMBEDMIG_ACTIVE_INDEX=new pins this process")
    assert "25 % since 2026-01-01" in pinned
    assert "only slot" in explain_choice(settled(), choose_slot(settled(), None, "user"))


def test_a_variable_that_names_no_collection_is_told_with_those_that_would() -> None:
    environment = {
        "EMBEDMIG_ACTIVE_INDEX": "new",
        "EMBEDMIG_ACTIVE_INDEX_DCOS": "new",
        "EMBEDMIG_ACTIVE_INDEX_MY_DOCS": "v1",
    }
    (told,) = idle_variables(environment, ["my-docs"])
    assert told.startswith("EMBEDMIG_ACTIVE_INDEX_DCOS pins nothing")
    assert "EMBEDMIG_ACTIVE_INDEX_MY_DOCS" in told
    assert len(idle_variables(environment, [])) == 2
