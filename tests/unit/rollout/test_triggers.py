"""Rollback triggers: fire when something is wrong, are fine when it is shown, and else ask."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedmig.errors import SettingsError
from embedmig.rollout.triggers import ShadowPairs, Side, TriggerState, Verdict, Window, judge, needed
from embedmig.search.latency import BUCKETS, bucket_of
from embedmig.settings import load_settings
from embedmig.trigger_settings import TriggerSettings

NOTHING = ShadowPairs(
    overlap=np.zeros(11, dtype=np.int64), errors=np.zeros(4, dtype=np.int64), empty=np.zeros(4, dtype=np.int64)
)


def _side(requests: int, *, errors: int = 0, empty: int = 0, slower: float = 1.0) -> Side:
    latency = np.zeros(BUCKETS, dtype=np.int64)
    for value in 0.005 * slower * np.random.default_rng(requests).lognormal(0.0, 0.5, requests - errors):
        latency[bucket_of(float(value))] += 1
    return Side(requests=np.int64(requests), errors=np.int64(errors), empty=np.int64(empty), latency=latency)  # type: ignore[arg-type]


def _window(source: Side, target: Side, drawn: ShadowPairs = NOTHING, number: int = 0) -> Window:
    return Window(number=number, source=source, target=target, drawn=drawn)


def _overlap(tenths: int, pairs: int) -> ShadowPairs:
    counts = np.zeros(11, dtype=np.int64)
    counts[tenths] = pairs
    return replace(NOTHING, overlap=counts, errors=np.array([pairs, 0, 0, 0]), empty=np.array([pairs, 0, 0, 0]))


def _judge(*windows: Window, settings: TriggerSettings | None = None) -> dict[str, TriggerState]:
    return {state.name: state for state in judge(windows, settings or TriggerSettings())}


GOOD = _window(_side(40_000, errors=40, empty=400), _side(20_000, errors=20, empty=200))


def test_the_same_from_both_slots_is_fine() -> None:
    found = _judge(GOOD)
    assert {name: state.verdict for name, state in found.items() if state.required} == {
        "p99 latency": Verdict.FINE,
        "errors": Verdict.FINE,
        "empty results": Verdict.FINE,
    }
    assert not any(state.holds for state in found.values())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("p99 latency", _side(2_000, slower=2.0)),
        ("errors", _side(2_000, errors=120)),
        ("empty results", _side(2_000, empty=200)),
    ],
)
def test_each_fault_fires_its_trigger_and_says_what_was_seen(name: str, target: Side) -> None:
    found = _judge(_window(_side(40_000, errors=40, empty=400), target))
    assert [state.name for state in found.values() if state.verdict is Verdict.FIRES] == [name]
    assert found[name].to_firing == 1
    assert "at most" in str(found[name])


def test_too_few_requests_are_no_data_and_hold() -> None:
    found = _judge(_window(_side(40_000), _side(499, errors=400)))
    assert {found[name].verdict for name in ("p99 latency", "errors", "empty results")} == {Verdict.NO_DATA}
    assert found["errors"].holds
    assert str(found["errors"]) == "errors: 499 seen, 500 wanted"
    assert not found["errors in shadow reads"].holds


def test_a_grey_zone_holds() -> None:
    found = _judge(_window(_side(10_000), _side(1_000, errors=15)))
    assert found["errors"].verdict is Verdict.UNSURE
    assert found["errors"].holds
    assert 0 <= found["errors"].to_firing < 1


def test_a_fault_of_both_slots_fires_nothing() -> None:
    found = _judge(_window(_side(20_000, errors=4_000, slower=3), _side(5_000, errors=1_000, slower=3)))
    assert Verdict.FIRES not in {state.verdict for state in found.values()}


def test_overlap_is_off_until_a_bound_is_set_and_then_wants_shadow_reads() -> None:
    assert not any("overlap" in name for name in _judge(GOOD))
    settings = TriggerSettings(overlap=0.6, label_overlap={"voice": 0.5})
    found = _judge(GOOD, settings=settings)
    assert found["overlap@10"].holds
    assert found["overlap@10 of voice"].holds
    fine = replace(GOOD, drawn=_overlap(8, 400), by_label={"voice": _overlap(3, 300)})
    found = _judge(fine, settings=settings)
    assert found["overlap@10"].verdict is Verdict.FINE
    assert found["overlap@10 of voice"].verdict is Verdict.FIRES
    assert found["overlap@10 of voice"].measured == "0.300 over 300 pairs, at least 0.5"


def test_errors_of_the_target_alone_in_shadow_reads_fire() -> None:
    drawn = replace(_overlap(9, 400), errors=np.array([360, 0, 40, 0]))
    assert _judge(replace(GOOD, drawn=drawn))["errors in shadow reads"].verdict is Verdict.FIRES
    both = replace(_overlap(9, 400), errors=np.array([320, 40, 0, 40]))
    assert _judge(replace(GOOD, drawn=both))["errors in shadow reads"].verdict is Verdict.FINE


def test_the_window_before_counts_while_the_one_that_runs_has_seen_little() -> None:
    little = _window(_side(600), _side(10), number=1)
    assert _judge(GOOD, little)["errors"].verdict is Verdict.FINE
    bad = _window(_side(40_000), _side(2_000, errors=200), number=1)
    assert _judge(GOOD, bad)["errors"].verdict is Verdict.FIRES
    assert _judge(bad, replace(GOOD, number=2))["errors"].verdict is Verdict.FIRES


def test_what_may_be_a_false_alarm_is_shared_out_among_all_windows_to_come() -> None:
    assert sum(np.exp(-needed(0.01, window)) for window in range(100_000)) <= 0.01


def test_a_threshold_at_its_end_switches_a_trigger_off() -> None:
    assert _judge(GOOD, settings=TriggerSettings(p99_ratio=float("inf"), error_rate=1, empty_rate=1)) == {}


def test_thresholds_are_read_from_the_file_and_a_misspelt_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "embedmig.toml"
    file.write_text("[rollout.triggers]\np99_ratio = 1.5\nlabel_overlap = { voice = 0.5 }\n")
    triggers = load_settings(tmp_path).rollout.triggers
    assert (triggers.p99_ratio, triggers.label_overlap) == (1.5, {"voice": 0.5})
    file.write_text("[rollout.triggers]\np99 = 1.5\n")
    with pytest.raises(SettingsError, match=r"unknown setting rollout\.triggers\.p99; the settings are.*p99_ratio"):
        load_settings(tmp_path)


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[3] / "scripts" / "bench" / "triggers.py"
    spec = importlib.util.spec_from_file_location("bench_triggers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_without_a_fault_a_week_of_looks_every_minute_is_rolled_back_in_under_5_percent_of_runs(
    simulation: ModuleType,
) -> None:
    # scripts/bench/triggers.py runs more and larger weeks, and prints what it finds.
    world = simulation.World(per_minute=30, share=0.15, pairs_a_minute=2)
    weeks = [simulation.week_alarms(seed, world) for seed in range(25)]
    assert sum(any(week.values()) for week in weeks) / len(weeks) < 0.05, weeks


def test_a_fault_is_seen_within_so_many_requests(simulation: ModuleType) -> None:
    for name, said, world, within in simulation.FAULTS:
        faster = replace(world, per_minute=60, share=0.2, pairs_a_minute=3)
        # Latencies are dear to simulate, and 300 minutes hold more requests than are allowed.
        minutes = 300 if name == "p99" else 700
        took = [simulation.requests_until(seed, faster, name, minutes=minutes) for seed in range(10)]
        assert sum(n is not None and n <= within for n in took) >= 9, (said, took)


def test_the_simulation_judges_as_the_product_does(simulation: ModuleType) -> None:
    looks = simulation.simulate_window(np.random.default_rng(5), simulation.World(slower=2.0, more_errors=0.05), 120)
    fired = simulation.fires(looks, 0)
    for minute in (60, 90, 119):
        at = np.zeros(120, dtype=bool)
        at[minute] = True
        s, t = (simulation._some(side, at) for side in (looks.source, looks.target))
        window = Window(
            number=0,
            source=Side(**{name: getattr(s, name)[0] for name in ("requests", "errors", "empty", "latency")}),
            target=Side(**{name: getattr(t, name)[0] for name in ("requests", "errors", "empty", "latency")}),
            drawn=ShadowPairs(**{name: getattr(looks.pairs, name)[minute] for name in ("overlap", "errors", "empty")}),
        )
        found = {state.name: state.verdict is Verdict.FIRES for state in judge([window], simulation.SETTINGS)}
        assert found == {
            "p99 latency": fired["p99"][minute],
            "errors": fired["errors"][minute],
            "errors in shadow reads": fired["errors in pairs"][minute],
            "empty results": fired["empty"][minute],
            "empty results in shadow reads": fired["empty in pairs"][minute],
            "overlap@10": fired["overlap"][minute],
        }
