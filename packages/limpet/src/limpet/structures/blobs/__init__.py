"""Content in chunks, and values that are stored in chunks. Internal to this floor; import from `limpet.structures`."""

from ._chunks import Chunks, Content, collect_chunks, collect_chunks_below, content_driver
from ._out_of_line import MAX_VALUE_BYTES, OutOfLine

__all__ = [
    "MAX_VALUE_BYTES",
    "Chunks",
    "Content",
    "OutOfLine",
    "collect_chunks",
    "collect_chunks_below",
    "content_driver",
]
