"""What a validation is to look at."""

import math
from dataclasses import dataclass

from embedmig.errors import UsageError

KS = (1, 5, 10, 20, 100)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Beside the queries."""

    ks: tuple[int, ...] = KS
    """Depths at which overlap and Jaccard are shown; the verdict is by 10."""
    by_document: str | None = None
    """A column of the user's table: rows that are equal in it are one result, and judgments name its values."""
    cutoffs: tuple[float, ...] = ()
    """Similarities that the application cuts off at, to be translated."""
    check_indexes: bool = True
    """Whether to send the queries to both slots' own indexes too."""
    rows_as_queries: int | None = None
    """So many stored rows serve as queries, by their vectors; with a model gone it happens of itself."""
    until_decided: bool = False
    """Ask block after block in a random order, and stop once the verdict stands; intervals then hold at every look."""
    pipeline: str | None = None
    """package.module:function, the user's own search: called with the query and the slot's name, gives keys."""
    pipeline_sql: str | None = None
    """The same as a SELECT of keys: see docs/validation.md."""
    seed: int = 0
    """Of the sample of rows, and of the order of the queries."""

    def __post_init__(self) -> None:
        """Raises UsageError for a cut-off that is no number."""
        if not all(map(math.isfinite, self.cutoffs)):
            raise UsageError(f"a cut-off is a number, not {', '.join(map(str, self.cutoffs))}")
