"""Passwords and keys that are not shown: in a `repr`, a traceback with variables, or a URL in a message."""

from __future__ import annotations

import re
from typing import Any, NoReturn, SupportsIndex, TypeVar

__all__ = [
    "SecretBytes",
    "SecretText",
    "SecretUrl",
    "hidden",
    "hidden_url",
    "hide_password",
    "raise_alone",
    "without_frames",
]

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")

_MASK = "***"
_CREDENTIALS = re.compile(
    r"(?P<head>\A[a-z][a-z0-9+.-]*:(?![/\s])|[a-z][a-z0-9+.-]*:/{1,2})(?P<secret>[^\"']*)@", re.IGNORECASE | re.DOTALL
)
"""In a text that is no URL as a whole, only what has a slash behind the scheme counts as one."""
_USER = re.compile(r"[\w.-]*:", re.ASCII)
_PATH = re.compile(r"[./][^:]*")
_OPTION = re.compile(r"(?P<head>[?&](?P<name>[^=&#\s'\"]*)=)(?P<value>[^&#\s'\"]*)")
_PLAIN_OPTIONS = frozenset({"schema", "table", "base", "collection", "database"})
"""Options that say where something is; of the others only numbers and the words below are shown."""
_PLAIN_VALUE = re.compile(
    r"[0-9.]{1,8}|true|false|auto|disk|process|relaxed|refuse|allow|disable|prefer|require|verify-ca|verify-full|aiomysql|asyncmy",
    re.ASCII,
)


def hide_password(url: str) -> str:
    """The URL with every password and key in it as `***`: for messages, logs and reports.

    All that stands before the last `@` counts as credentials, since a password may hold `/`, `?`, `#` or blanks by
    mistake; of an option only what is known to be harmless is shown.
    """
    return _OPTION.sub(_option, _CREDENTIALS.sub(_credentials, url))


def _credentials(match: re.Match[str]) -> str:
    head, secret = match["head"], match["secret"]
    if head.endswith("//") and _PATH.fullmatch(secret):  # fs://./data/user@home
        return match[0]
    user = _USER.match(secret)
    return f"{head}{'' if user is None else user[0]}{_MASK}@"


def _option(match: re.Match[str]) -> str:
    shown = match["name"] in _PLAIN_OPTIONS or _PLAIN_VALUE.fullmatch(match["value"])
    return match[0] if shown else f"{match['head']}{_MASK}"


class SecretText(str):
    """Text whose `repr` does not show it. Otherwise it is ordinary text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_MASK)

    def __getitem__(self, index: SupportsIndex | slice) -> SecretText:  # a traceback may show the beginning
        return SecretText(super().__getitem__(index))


class SecretUrl(SecretText):
    """A URL whose `repr` shows it without its passwords."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(hide_password(str(self)))


class SecretBytes(bytes):
    """Bytes whose `repr` does not show them."""

    def __repr__(self) -> str:
        return repr(_MASK)


def hidden(value: Any) -> Any:
    """Return a key, or its source, in a form that is not shown. Anything but text and bytes is returned unchanged."""
    if isinstance(value, str):
        return SecretText(value)
    return SecretBytes(value) if isinstance(value, (bytes, bytearray)) else value


def hidden_url(target: T) -> T | SecretUrl:
    """Return a URL that does not show its password. Anything else is returned unchanged."""
    return SecretUrl(target) if isinstance(target, str) else target


def raise_alone(error: Exception) -> NoReturn:
    """Raise an error without the one being handled, which contains contents or a password."""
    try:
        raise error from None
    finally:
        error.__context__ = None


def without_frames(error: E) -> E:
    """Return a client library's error without its frames, whose variables contain passwords and contents."""
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        each = rest.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            rest += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                rest += each.exceptions
    return error
