"""Plain keys and values, and blobs. Internal to this floor; import from `limpet.stores`."""

from ._blobs import BlobStore
from ._plain import Plain, read, true_paths, write
from ._storage import Meta, Storage
from ._watchers import call_back

__all__ = [
    "BlobStore",
    "Meta",
    "Plain",
    "Storage",
    "call_back",
    "read",
    "true_paths",
    "write",
]
