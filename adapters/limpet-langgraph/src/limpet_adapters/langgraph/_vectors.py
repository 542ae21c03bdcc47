"""Embeddings: of which texts they are made, how they are stored beside a value, and how similar two are."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from operator import mul
from sys import byteorder
from typing import Any, Literal

from langchain_core.embeddings import Embeddings
from limpet import CorruptDataError, InvalidValueError

from langgraph.store.base import IndexConfig, ensure_embeddings, get_text_at_path, tokenize_path

__all__ = ["VectorIndex", "best_score", "to_unit"]

_WHOLE = "$"


class VectorIndex:
    """What an `IndexConfig` says."""

    def __init__(self, config: IndexConfig) -> None:
        self.embeddings: Embeddings = ensure_embeddings(config["embed"])
        self._dims = config.get("dims")
        self._paths = [_tokens(path) for path in config.get("fields") or [_WHOLE]]

    def texts(self, value: Mapping[str, Any], fields: Literal[False] | Sequence[str] | None) -> list[str]:
        """Return the texts of a value that are embedded, each once. `fields` are those of a `PutOp`."""
        if fields is False:
            return []
        paths = self._paths if fields is None else [_tokens(path) for path in fields]
        return list(dict.fromkeys(text for path in paths for text in get_text_at_path(value, path)))

    def stored(self, vector: Sequence[float]) -> str:
        """Return an embedding as it is stored: of length 1, with 4 bytes for each number, in base64."""
        if self._dims is not None and len(vector) != self._dims:
            raise InvalidValueError(
                f"the embedding has {len(vector)} dimensions, but the index has dims={self._dims}: use one model for both"
            )
        packed = array("f", to_unit(vector))
        if byteorder == "big":
            packed.byteswap()
        return b64encode(packed.tobytes()).decode()


def to_unit(vector: Sequence[float]) -> list[float]:
    """Return a vector of the same direction with length 1; zeros stay zeros."""
    length = sqrt(sum(map(mul, vector, vector)))
    return [each / length for each in vector] if length else [0.0] * len(vector)


def best_score(query: Sequence[float], vectors: Iterable[str]) -> float | None:
    """Return the highest cosine similarity of stored embeddings to a query of length 1.

    `None` if there are none, or only some with another number of dimensions.
    """
    scores = [sum(map(mul, query, vector)) for vector in map(_unpacked, vectors) if len(vector) == len(query)]
    return max(scores, default=None)


def _unpacked(stored: str) -> Sequence[float]:
    packed = array("f")
    try:
        packed.frombytes(b64decode(stored, validate=True))
    except ValueError as error:
        raise CorruptDataError("a stored embedding cannot be read: put the item again") from error
    if byteorder == "big":
        packed.byteswap()
    return packed


def _tokens(path: str) -> str | list[str]:
    return path if path == _WHOLE else tokenize_path(path)
