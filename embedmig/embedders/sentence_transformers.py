"""The provider ``sentence-transformers``: a model in a directory, or in an installed package. Never from a hub."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from embedmig.embedders.model_folder import find_model_folder
from embedmig.embedders.options import refuse_unknown_options
from embedmig.embedders.quiet import quiet_libraries
from embedmig.errors import UnsupportedError, UsageError
from embedmig.types import Floats

_BATCH_SIZES = {"static": 1024, "cpu": 32, "other": 64}
"""A table is looked up fastest in large batches; a transformer's layers should stay in the processor's cache."""
_NO_LIMIT = 10**9
"""Tokenizers without a limit say 10**30."""


class SentenceTransformersEmbedder:
    """Options: ``path`` (a directory) or ``package`` (an installed package that carries a model); ``device``
    (``auto``: cuda if there is one), ``dtype`` (``auto``: bfloat16 on cuda, else float32), ``batch_size`` (32 on a CPU,
    64 elsewhere, 1,024 for a static model).

    Code that a model brings along is never run. Prompts go through the library, which knows the models whose pooling
    leaves them out. Several threads may call it: they take turns.
    """

    def __init__(
        self,
        *,
        options: Mapping[str, Any],
        document_prompt: str = "",
        query_prompt: str = "",
        max_tokens: int | None = None,
    ) -> None:
        """Raises UsageError when the options, the directory or the library are not there."""
        known = ("path", "package", "device", "dtype", "batch_size")
        refuse_unknown_options("sentence-transformers", options, known=known)
        batch_size = _read_batch_size(options)
        folder = find_model_folder(options)
        _require_library()
        with quiet_libraries():
            self._model = _open_model(folder, options.get("device", "auto"), options.get("dtype", "auto"))
            _lower_limit(self._model, max_tokens)
        self.max_tokens: int | None = _read_limit(self._model)
        self._batch_size = batch_size or _best_batch_size(self._model)
        self.compute_type: str = f"{self._model.device.type}/{_dtype_name(self._model)}"
        self._prompts = document_prompt, query_prompt
        self._computing, self._counting = threading.Lock(), threading.Lock()
        self._count = _make_counter(self._model.tokenizer, folder)
        self.dimensions: int = self._embed(self._model.encode_document, ["dimensions"], "").shape[1]

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32."""
        return self._embed(self._model.encode_document, texts, self._prompts[0])

    def embed_queries(self, texts: Sequence[str]) -> Floats:
        """(n, dimensions) float32."""
        return self._embed(self._model.encode_query, texts, self._prompts[1])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """By the model's own tokenizer, prompt and special tokens included, before truncation."""
        with self._counting:
            return self._count([self._prompts[0] + text for text in texts]) if texts else []

    def _embed(self, encode: Callable[..., Any], texts: Sequence[str], prompt: str) -> Floats:
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        with self._computing:
            # The prompt is said even when empty: else the library takes one from the model's own settings.
            vectors = encode(list(texts), prompt=prompt, batch_size=self._batch_size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def _require_library() -> None:
    if missing := [name for name in ("sentence_transformers", "torch", "transformers") if find_spec(name) is None]:
        raise UsageError(
            f"the provider sentence-transformers needs {', '.join(missing)}, not installed: pip install"
            " 'embedmig[local]'"
        )


def _read_batch_size(options: Mapping[str, Any]) -> int | None:
    if "batch_size" not in options:
        return None
    value = options["batch_size"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"sentence-transformers: batch_size is a whole number from 1 on, not {value!r}")
    return value


def _best_batch_size(model: Any) -> int:
    if _is_bare_tokenizer(model.tokenizer):
        return _BATCH_SIZES["static"]
    return _BATCH_SIZES.get(model.device.type, _BATCH_SIZES["other"])


def _open_model(folder: Path, device: str, dtype: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in ("float32", "bfloat16", "float16"):
        raise UsageError(f"sentence-transformers: dtype is auto, float32, bfloat16 or float16, not {dtype!r}")
    number_format = getattr(torch, dtype)
    model = SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={_dtype_argument(): number_format},
    )
    # Modules that are no transformer (a static table) load as they were saved.
    return model if _dtype_name(model) == dtype else model.to(number_format)


def _dtype_argument() -> str:
    """transformers 5 renamed it."""
    import transformers

    return "torch_dtype" if transformers.__version__.startswith("4.") else "dtype"


def _dtype_name(model: Any) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def _is_bare_tokenizer(tokenizer: Any) -> bool:
    """A static model has the Rust tokenizer itself, where a transformer has the wrapper around it."""
    from tokenizers import Tokenizer  # type: ignore[import-untyped]

    return isinstance(tokenizer, Tokenizer)


def _read_limit(model: Any) -> int | None:
    if _is_bare_tokenizer(model.tokenizer):
        # StaticEmbedding.max_seq_length says infinity though its tokenizer may truncate.
        return model.tokenizer.truncation["max_length"] if model.tokenizer.truncation else None
    limit = model.max_seq_length
    return None if limit is None or limit > _NO_LIMIT else int(limit)


def _lower_limit(model: Any, max_tokens: int | None) -> None:
    """Truncates at ``max_tokens``; never beyond what the model says it takes."""
    own = _read_limit(model)
    if max_tokens is None or (own is not None and own <= max_tokens):
        return
    if _is_bare_tokenizer(model.tokenizer):
        model.tokenizer.enable_truncation(max_length=max_tokens)
    else:
        model.max_seq_length = max_tokens


def _make_counter(tokenizer: Any, folder: Path) -> Callable[[list[str]], list[int]]:
    """Counts on a copy: a tokenizer's truncation is state, and the original may be embedding in another thread."""
    from transformers import PreTrainedTokenizerBase

    own = copy.deepcopy(tokenizer)
    if _is_bare_tokenizer(own):
        own.no_truncation()
        own.no_padding()
        return lambda texts: [len(one.ids) for one in own.encode_batch(texts, add_special_tokens=False)]
    if isinstance(own, PreTrainedTokenizerBase):
        settings = {"truncation": False, "padding": False, "return_attention_mask": False, "verbose": False}
        return lambda texts: [len(ids) for ids in own(texts, **settings)["input_ids"]]
    raise UnsupportedError(
        f"the model in {folder} has no tokenizer of transformers or tokenizers: {type(own).__name__}"
    )
