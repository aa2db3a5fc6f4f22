"""Kept adapters opened again: only while both their models are what they were at the fit."""

from collections.abc import Mapping

from embedmig.adapters.storage import StoredAdapter, load_adapter
from embedmig.catalog.adapters import AdapterBody, KeptAdapter
from embedmig.embedders.fingerprint import Fingerprint
from embedmig.errors import AdapterUnusableError


def open_adapter(kept: AdapterBody) -> StoredAdapter:
    """The adapter, to apply it. Raises AdapterUnusableError when either model has another fingerprint now, or the bytes
    are damaged; UnsupportedError without safetensors."""
    return load_adapter(kept.body, read_fingerprints(kept.fingerprints))


def read_fingerprints(stored: Mapping[str, bytes | None]) -> dict[str, Fingerprint | None]:
    """By name@revision, as the catalog holds them. Raises ProviderError for bytes that are none."""
    return {model: None if body is None else Fingerprint.from_bytes(body) for model, body in stored.items()}


def require_unchanged(kept: KeptAdapter) -> None:
    """Raises AdapterUnusableError when either model has another fingerprint than at the fit."""
    seen = ((kept.from_model, kept.from_changed), (kept.to_model, kept.to_changed))
    if changed := [model for model, is_other in seen if is_other]:
        raise AdapterUnusableError(
            f"adapter {kept.name} was made for another fingerprint of {' and '.join(changed)} than is registered now:"
            " it would map into the wrong place. Fit it again: embedmig adapter fit"
        )
