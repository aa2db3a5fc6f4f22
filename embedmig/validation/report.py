"""One validation run as a value: everything that was found, ready for people, JSON and the catalog."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from embedmig.types import Key
from embedmig.validation.approximate import IndexCheck
from embedmig.validation.cutoffs import Band, Cutoff
from embedmig.validation.intervals import Estimate
from embedmig.validation.quality import Quality
from embedmig.validation.queries import QueryCounts
from embedmig.validation.strata import Stratum
from embedmig.validation.verdict import Thresholds, Verdict

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two slots."""

    slot: str
    model: str
    distance: str
    """cosine, l2 or ip."""
    band: Band
    """Where its similarities lie."""
    index: IndexCheck | None
    """None where there is no index, or it was not asked."""
    embed_ms: float | None = None
    """What a query takes of embedding many at once; None where nobody knows: with rows as queries, a gone model."""


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Over which rows the two sides answered."""

    judged: int
    """Those that both slots hold."""
    part: float
    """The share of the rows served today that were judged, 0 to 1; 1 where only a tail is missing."""
    only_source: int
    only_target: int
    bridged_share: float
    """Of the target's judged rows, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the exact results of the two slots agree: means over queries."""

    overlap: Mapping[int, Estimate]
    """By k."""
    jaccard: Mapping[int, Estimate]
    """By k."""
    rank_biased_overlap: Estimate
    rbo_p: float
    kendall_tau: Estimate | None
    """Over the common items, -1 to 1; None where no query has two."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One of a query's first rows in a slot."""

    key: Key
    distance: float
    grade: int | None
    """None: nobody judged the query."""


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """One query's results in both slots."""

    text: str
    label: str | None
    weight: float
    overlap: float
    """At 10."""
    source_quality: float | None
    """nDCG@10; None where nobody judged."""
    target_quality: float | None
    source: tuple[Found, ...]
    """The first ten, nearest first."""
    target: tuple[Found, ...]


@dataclass(frozen=True, kw_only=True)
class CutoffAdvice:
    """A cut-off translated, and the line of code to change."""

    cutoff: Cutoff
    was: str
    becomes: str | None


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """The same measures after the user's own search."""

    name: str
    agreement: Agreement
    quality: tuple[Quality, ...]
    """Empty where nobody judged."""
    source_p50_ms: float
    target_p50_ms: float
    source_empty: int
    """How many queries found nothing through the old slot."""
    target_empty: int


@dataclass(frozen=True, kw_only=True)
class Preference:
    """What one judge said of one query's two lists, not knowing whose they were."""

    text: str
    label: str | None
    judge: str
    verdict: str
    """better, worse or equal: of the new list; or skip."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was known after so many queries."""

    queries: int
    overlap: Estimate
    """At 10."""
    quality: Estimate | None
    """The change in nDCG@10; None where nobody judged."""


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """A run that looked after each block of queries. Its intervals of agreement and quality hold at every look."""

    available: int
    """How many distinct queries there were to ask."""
    decided: bool
    """Whether the verdict stood; else all queries were asked."""
    looks: tuple[Look, ...]


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """What ``validate`` gives."""

    id: int | None
    """Its number in the catalog."""
    collection: str
    verdict: Verdict
    source: Side
    target: Side
    queries: QueryCounts
    rows: RowCounts
    agreement: Agreement
    quality: tuple[Quality, ...]
    """Empty where nobody judged."""
    target_quality_alone: Mapping[str, Estimate]
    """The new slot's measures where the old model is gone and cannot answer the judged queries."""
    strata: tuple[Stratum, ...]
    """Worst first; empty without labels."""
    cutoffs: tuple[CutoffAdvice, ...]
    detectable: Mapping[str, float]
    """The smallest true differences that so many queries were likely to show (power 0.8), known before the run."""
    by_document: str | None
    ef_search_to_keep_recall: int | None
    """Of the new slot's index, to find as large a share as the old one's does now; None: none that was tried does."""
    results: tuple[QueryResult, ...]
    """Query by query, those that changed most first."""
    seconds: Mapping[str, float]
    """How long each step took."""
    probes_to_keep_recall: int | None = None
    """The same where the new slot's index is ivfflat."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """What the verdict was measured by."""
    sequential: Sequential | None = None
    """None: all queries were asked, and looked at once."""
    pipeline: PipelineResult | None = None
    """None: the user's own search was not asked."""
    preferences: tuple[Preference, ...] = ()
    """What judges said afterwards, in the order in which they said it."""

    @property
    def passed(self) -> bool:
        """Whether the verdict is a pass."""
        return self.verdict.outcome.passed

    def to_body(self) -> dict[str, Any]:
        """For the catalog's jsonb: the same fields out of plain values."""
        body: dict[str, Any] = dataclasses.asdict(self)
        del body["id"]
        return body


def report_from_body(body: Mapping[str, Any], id: int) -> ValidationReport:  # noqa: A002
    """The report that ``to_body`` gave to the catalog, as number ``id``. Raises ValueError for anything else."""
    return _reader().validate_python({**body, "id": id})


@lru_cache
def _reader() -> "TypeAdapter[ValidationReport]":
    from pydantic import TypeAdapter

    return TypeAdapter(ValidationReport)
