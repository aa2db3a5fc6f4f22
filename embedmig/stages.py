"""The stage of a migration as a function of facts, and what may follow it. Pure: no database, no files."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """How far a migration has come; never stored, so that it cannot disagree with the facts."""

    REGISTERED = "registered"
    EXPANDED = "expanded"
    BACKFILLING = "backfilling"
    BACKFILLED = "backfilled"
    INDEXED = "indexed"
    VALIDATED = "validated"
    HANDED_OVER = "handed over"
    RAMPING = "ramping"
    STABILISING = "stabilising"
    STABLE = "stable"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is so, as far as the stage hangs on it. Shares are in basis points (0 to 10,000)."""

    collection: str
    source: str
    target: str | None
    """None: no migration is open."""
    target_has_vectors: bool = False
    target_complete: bool = False
    incomplete_why: tuple[str, ...] = ()
    index_valid: bool = False
    report_stands: bool = False
    report_why_not: str = "it has not been validated"
    handed_over: bool = False
    source_model_gone: str | None = None
    """The old model, once it cannot embed any more and nobody has accepted what that costs the way back."""
    rows_without_way_back: int | None = None
    """Rows with text that the source lacks, where they were counted."""
    suspects: tuple[str, ...] = ()
    """Whose vectors are not what the slot's model gives, one sentence a writer."""
    share_bp: int = 0
    next_percent: float = 100.0
    """The next step of the ladder."""
    hold_left_s: float = 0.0
    tripped: str | None = None
    """What a rollback trigger said when it took the share back; None once a newer report or a person answered it."""
    firing: tuple[str, ...] = ()
    """Rollback triggers that fire now."""
    unproven: tuple[str, ...] = ()
    """Rollback triggers that can neither tell that all is well nor that it is not."""
    stability_left_s: float = 0.0
    retired: bool = False


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """The command that leads on, and why it is that one."""

    command: str
    why: str


def stage_of(facts: Facts) -> Stage:
    """The furthest stage whose facts hold. What serves decides before what is ready: a share is a fact for users."""
    if facts.target is None:
        return Stage.REGISTERED
    if facts.retired:
        return Stage.RETIRED
    if facts.share_bp >= 10_000:
        return Stage.STABILISING if facts.stability_left_s > 0 else Stage.STABLE
    if facts.share_bp > 0:
        return Stage.RAMPING
    if not facts.target_has_vectors:
        return Stage.EXPANDED
    if not facts.target_complete:
        return Stage.BACKFILLING
    if not facts.index_valid:
        return Stage.BACKFILLED
    if not facts.report_stands:
        return Stage.INDEXED
    return Stage.HANDED_OVER if facts.handed_over else Stage.VALIDATED


def missing_for_ramp(facts: Facts) -> tuple[str, ...]:
    """What stands between a target and any share of the traffic, one sentence each; empty when it may serve."""
    missing = []
    if not facts.target_complete:
        why = "; ".join(facts.incomplete_why)
        missing.append(f"slot {facts.target} is incomplete ({why}): embedmig reembed {facts.collection}")
    if not facts.index_valid:
        missing.append(f"slot {facts.target} has no valid index: embedmig index {facts.collection}")
    if not facts.report_stands:
        missing.append(
            f"no report stands ({facts.report_why_not}): embedmig validate {facts.collection}, or accept it,"
            " --accept-report REASON"
        )
    if not facts.handed_over:
        missing.append(
            f"rows written from now on would be missing in {facts.source} after a rollback:"
            f" embedmig handover {facts.collection}"
        )
    if facts.source_model_gone is not None:
        lacking = "" if facts.rows_without_way_back is None else f" {facts.rows_without_way_back:,} rows lack one now;"
        missing.append(
            f"{facts.source_model_gone} is gone, so that rows written since have no vector in {facts.source}:{lacking}"
            " a rollback would not find them (--accept-no-way-back REASON)"
        )
    missing += [f"{suspect}: stop that writer, then embedmig guard {facts.collection}" for suspect in facts.suspects]
    return tuple(missing)


def holds(facts: Facts) -> tuple[str, ...]:
    """What keeps the share of a whole group where it is though its target may serve, one sentence each."""
    found = []
    if facts.tripped is not None:
        found.append(
            f"a rollback trigger took the share back ({facts.tripped}): find out why, then validate again,"
            f" embedmig validate {facts.collection}, or --accept-report REASON"
        )
    if facts.firing:
        found.append(f"a rollback trigger fires ({'; '.join(facts.firing)}): embedmig rollback {facts.collection}")
    if facts.unproven:
        found.append(
            f"it is not known yet whether all is well ({'; '.join(facts.unproven)}): wait for more requests, or say why"
            " it may go on, --accept-unproven REASON"
        )
    if 0 < facts.share_bp < 10_000 and facts.hold_left_s > 0:
        found.append(
            f"{facts.share_bp / 100:g} % are to be held for another {in_words(facts.hold_left_s)} (--hold HOURS)"
        )
    return tuple(found)


def in_words(seconds: float) -> str:
    """``3.0 days``, ``5.5 hours`` or ``12 minutes``."""
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(seconds / 60, 1):.0f} minutes"


def next_step(facts: Facts) -> NextStep:
    """The one command that leads on."""
    name = facts.collection
    match stage_of(facts):
        case Stage.REGISTERED:
            return NextStep(command=f"embedmig expand {name} --to MODEL", why="no migration is open")
        case Stage.EXPANDED | Stage.BACKFILLING:
            why = "; ".join(facts.incomplete_why) or f"slot {facts.target} is empty"
            return NextStep(command=f"embedmig reembed {name}", why=why)
        case Stage.BACKFILLED:
            return NextStep(command=f"embedmig index {name}", why=f"slot {facts.target} has no valid index")
        case Stage.INDEXED:
            return NextStep(command=f"embedmig validate {name} --queries FILE", why=facts.report_why_not)
        case Stage.VALIDATED:
            return NextStep(command=f"embedmig handover {name}", why=f"{facts.source} is not kept up to date by us yet")
        case Stage.HANDED_OVER:
            if facts.tripped is not None:
                return NextStep(command=f"embedmig validate {name} --queries FILE", why=facts.tripped)
            return NextStep(
                command=f"embedmig rollout {name} {facts.next_percent:g}", why=f"slot {facts.target} is ready to serve"
            )
        case Stage.RAMPING:
            left = f", to be held for another {in_words(facts.hold_left_s)}" if facts.hold_left_s > 0 else ""
            return NextStep(
                command=f"embedmig rollout {name} {facts.next_percent:g}",
                why=f"{facts.share_bp / 100:g} % are served{left}",
            )
        case Stage.STABILISING:
            days = facts.stability_left_s / 86_400
            return NextStep(command=f"embedmig contract {name}", why=f"the stability period has {days:.1f} days left")
        case Stage.STABLE:
            return NextStep(command=f"embedmig contract {name}", why="the stability period is over")
        case Stage.RETIRED:
            return NextStep(command=f"embedmig contract {name}", why=f"the index of {facts.source} is gone already")
