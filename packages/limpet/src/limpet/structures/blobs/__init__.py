"""Content in chunks, and values that are stored in chunks. For this floor; the public door is `limpet.structures`."""

from ._chunks import Chunks, Content, sweep_chunks
from ._out_of_line import MAX_VALUE_BYTES, Spilled

__all__ = [
    "MAX_VALUE_BYTES",
    "Chunks",
    "Content",
    "Spilled",
    "sweep_chunks",
]
