"""Reading the options of a provider."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedmig.errors import UsageError


def refuse_unknown_options(provider: str, options: Mapping[str, Any], *, known: Sequence[str]) -> None:
    """Raises UsageError that names what is unknown and what there is."""
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"{provider} has no option {', '.join(unknown)}; there are: {', '.join(known)}")
