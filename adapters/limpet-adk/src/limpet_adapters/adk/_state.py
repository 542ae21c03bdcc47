"""The three scopes of state: of the app, of one of its users, and of one session."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.adk.sessions import State
from limpet.driver import Driver, Write
from limpet.records import Record
from limpet.structures import BatchPart, Collection, ModelCodec, ReadSet
from pydantic_core import to_jsonable_python

from ._database import joined

__all__ = ["Changes", "Scopes", "merged"]

_logger = logging.getLogger("limpet")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed in each scope, by the names that the scopes use."""

    app: dict[str, Any]
    user: dict[str, Any]
    session: dict[str, Any]

    @staticmethod
    def of(state: Mapping[str, Any] | None) -> Changes:
        """Sort the keys by their prefixes. Temporary ones are dropped; what JSON cannot hold becomes text, with a warning."""
        changes = Changes({}, {}, {})
        plain = to_jsonable_python(dict(state or {}), fallback=_as_text)
        for key, value in plain.items():
            if key.startswith(State.APP_PREFIX):
                changes.app[key.removeprefix(State.APP_PREFIX)] = value
            elif key.startswith(State.USER_PREFIX):
                changes.user[key.removeprefix(State.USER_PREFIX)] = value
            elif not key.startswith(State.TEMP_PREFIX):
                changes.session[key] = value
        return changes


class _Scope(Record):
    id: str
    state: dict[str, Any]


class Scopes:
    """The state of apps and of their users, which sessions share."""

    def __init__(self, driver: Driver) -> None:
        self._scopes = Collection(driver, "adk.scopes", ModelCodec(_Scope), id_of=lambda scope: scope.id)

    async def of_app(self, app_name: str, *user_ids: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the state of an app, and that of some of its users, by their ids."""
        ids = [joined(app_name), *(joined(app_name, user_id) for user_id in user_ids)]
        app, *users = [{} if scope is None else scope.state for scope in await self._scopes.get_many(ids)]
        return app, dict(zip(user_ids, users, strict=True))

    async def of_user(self, app_name: str, user_id: str) -> dict[str, Any]:
        """Return the state of one user of an app."""
        scope = await self._scopes.get(joined(app_name, user_id))
        return {} if scope is None else scope.state

    async def delete(self, app_name: str, user_id: str) -> None:
        """Delete the state of one user of an app."""
        await self._scopes.delete(joined(app_name, user_id))

    def changing(self, app_name: str, user_id: str, changes: Changes) -> BatchPart | None:
        """Return the writes of both scopes, for the batch of a session; `None` if there are none."""
        wanted = {joined(app_name): changes.app, joined(app_name, user_id): changes.user}
        wanted = {id: values for id, values in wanted.items() if values}

        def plan(reads: ReadSet) -> Sequence[Write]:
            writes: list[Write] = []
            for id, values in wanted.items():
                known = self._scopes.decode(reads[self._scopes.key(id)], id)
                state = {**({} if known is None else known.state), **values}
                writes += self._scopes.plan_save(reads, _Scope(id=id, state=state))
            return writes

        return BatchPart([self._scopes.key(id) for id in wanted], plan) if wanted else None


def merged(app: Mapping[str, Any], user: Mapping[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state that a session shows: its own, and that of its scopes with their prefixes."""
    return {
        **session,
        **{State.APP_PREFIX + key: value for key, value in app.items()},
        **{State.USER_PREFIX + key: value for key, value in user.items()},
    }


def _as_text(value: Any) -> str:
    _logger.warning("a %s in the state is no JSON, and is stored as text", type(value).__name__)
    return str(value)
