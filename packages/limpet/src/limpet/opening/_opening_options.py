"""The options of every function that opens a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from ..wrappers import Wrap

__all__ = ["OpeningOptions", "check_options"]


class OpeningOptions(TypedDict, total=False):
    """The options of opening a database, apart from where it is; see `create_persistence`."""

    batching: bool
    """Send calls that are made at the same time together; default `True`."""
    wrappers: Sequence[Wrap]
    """What transforms or intercepts data on its way to storage, outermost first."""
    plugins: Sequence[str] | None
    """The packages whose plug-ins and drivers may be loaded; `None`: `LIMPET_PLUGINS` decides."""
    max_value_bytes: int | None
    """The longest record that is accepted; `None`: 128 MiB, or more if the driver accepts more."""
    require_encryption: bool | None
    """Refuse a stack without `encrypted()`; `None`: `LIMPET_REQUIRE_ENCRYPTION` decides."""
    require_tls: bool | None
    """Refuse connections that someone on the network could read or change; `None`: `LIMPET_REQUIRE_TLS` decides."""


def check_options(function: str, options: OpeningOptions) -> None:
    """Refuse an unknown option at once, not only when the database is opened. Raises `TypeError`."""
    for name in options.keys() - OpeningOptions.__annotations__.keys():
        known = ", ".join(OpeningOptions.__annotations__)
        raise TypeError(f"{function}() has no option {name!r}: the options are {known}")
