"""Limpet's errors as those of py-key-value, which its users expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from limpet import CorruptDataError, InvalidKeyError, InvalidValueError, OutcomeUnknownError, UnavailableError

from key_value.aio import errors

__all__ = ["translated"]


@contextmanager
def translated() -> Iterator[None]:
    """Raise what the block raises as an error of py-key-value, with Limpet's as its cause. Others stay as they are."""
    try:
        yield
    except InvalidKeyError as error:
        raise errors.InvalidKeyError(str(error)) from error
    except InvalidValueError as error:
        raise errors.SerializationError(str(error)) from error
    except CorruptDataError as error:
        raise errors.DeserializationError(str(error)) from error
    except (OutcomeUnknownError, UnavailableError) as error:
        raise errors.StoreConnectionError(str(error)) from error
