"""ADK's artifacts: what a version consists of is a record, and its bytes are a blob."""

from __future__ import annotations

from typing import Any

from google.adk.artifacts import BaseArtifactService
from google.adk.artifacts import artifact_util as util
from google.adk.artifacts.base_artifact_service import ArtifactVersion, ensure_part
from google.adk.errors.input_validation_error import InputValidationError
from google.adk.platform import time as platform_time
from google.genai import types
from limpet import NotFoundError, Persistence
from limpet.records import Record
from limpet.structures import Collection, Index, ModelCodec, Plan, ReadSet, transact
from typing_extensions import override

from ._database import Database, joined

__all__ = ["LimpetArtifactService"]

_REFERENCES = 5
"""How many references are followed from one artifact, as by ADK's own services."""
_REMOVED = types.Part(inline_data=types.Blob(mime_type="application/octet-stream", data=b""))
"""What a rewind of a session stores for an artifact that was not there yet."""


class _Artifact(Record):
    id: str
    owner: str
    scope: str
    filename: str
    following: int = 0
    """The number that the next version gets."""


class _Version(Record):
    id: str
    artifact: str
    version: int
    part: dict[str, Any]
    """The part as JSON, without the bytes that are in the blob."""
    blob: str | None = None
    mime_type: str | None = None
    custom_metadata: dict[str, Any]
    create_time: float


class LimpetArtifactService(Database, BaseArtifactService):
    """ADK's artifacts on any database: `Runner(..., artifact_service=LimpetArtifactService("sqlite:///agent.db"))`.

    Concurrent saves of one artifact get different versions. Equal bytes are stored once.
    """

    def __init__(self, database: str | Persistence | None) -> None:
        super().__init__(database)
        driver = self._driver = self.persistence.driver
        self._blobs = self.persistence.blobs
        self._artifacts: Collection[_Artifact] = Collection(
            driver,
            "adk.artifacts",
            ModelCodec(_Artifact),
            id_of=lambda artifact: artifact.id,
            indexes=[
                Index("scope", lambda artifact: artifact.scope),
                Index("owner", lambda artifact: artifact.owner),
            ],
        )
        self._versions: Collection[_Version] = Collection(
            driver,
            "adk.artifacts.versions",
            ModelCodec(_Version),
            id_of=lambda version: version.id,
            indexes=[Index("artifact", lambda version: version.artifact)],
        )

    @override
    async def save_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        artifact: types.Part | dict[str, Any],
        session_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> int:
        """Store a new version and return its number: 0, 1, 2...

        Raises ADK's `InputValidationError` for a part that holds nothing, a reference out of its scope, and names that
        no path may have.
        """
        scope = _scope(app_name, user_id, session_id, filename)
        part = ensure_part(artifact)
        mime_type = _mime_type(part, app_name, user_id, session_id)
        data = part.inline_data.data if part.inline_data is not None else None
        blob = await self._blobs.create(data, content_type=mime_type, name=filename) if data else None
        without = {"inline_data": {"data"}} if blob is not None else None
        id = joined(scope, filename)
        new = _Artifact(id=id, owner=joined(app_name, user_id), scope=scope, filename=filename)

        def plan(reads: ReadSet) -> Plan[int]:
            known = self._artifacts.decode(reads[self._artifacts.key(id)], id) or new
            number = known.following
            version = _Version(
                id=joined(id, str(number)),
                artifact=id,
                version=number,
                part=part.model_dump(mode="json", exclude_none=True, exclude=without),
                blob=None if blob is None else blob.id,
                mime_type=mime_type,
                custom_metadata=dict(custom_metadata or {}),
                create_time=platform_time.get_time(),
            )
            at = self._versions.key(version.id)
            following = known.model_copy(update={"following": number + 1})
            writes = self._artifacts.plan_save(reads, following)
            return Plan([*writes, *self._versions.plan_save({at: reads.get(at)}, version)], number)

        try:
            return await transact(self._driver, [self._artifacts.key(id)], plan)
        except BaseException:
            if blob is not None:
                await self._blobs.delete(blob.id)
            raise

    @override
    async def load_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None, version: int | None = None
    ) -> types.Part | None:
        """Return the newest version, or the one with a number, as it was saved; `None` if there is none.

        A reference to another artifact is followed.
        """
        for left in range(_REFERENCES, -1, -1):
            found = await self._version(_scope(app_name, user_id, session_id, filename), filename, version)
            if found is None:
                return None
            part = types.Part.model_validate(found.part)
            if not util.is_artifact_ref(part):
                return await self._whole(part, found)
            to = util.resolve_artifact_reference(
                file_uri=str(found.part["file_data"]["file_uri"]),
                app_name=app_name,
                user_id=user_id,
                session_id=session_id,
                remaining_depth=left,
            )
            app_name, user_id, session_id, filename, version = to
        raise AssertionError("resolving a reference raises before this")

    @override
    async def list_artifact_keys(self, *, app_name: str, user_id: str, session_id: str | None = None) -> list[str]:
        """List the names of the user's artifacts, which begin with `user:`, and of those of a session, in order."""
        scopes = [_scope(app_name, user_id, None, "user:")]
        if session_id is not None:
            scopes.append(_scope(app_name, user_id, session_id, ""))
        return sorted([found.filename for scope in scopes async for found in self._artifacts.find("scope", scope)])

    @override
    async def delete_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> None:
        """Delete all versions of an artifact, if there is one. Interrupted, it is finished by the next call."""
        await self._delete(joined(_scope(app_name, user_id, session_id, filename), filename))

    @override
    async def list_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[int]:
        """List the numbers of an artifact's versions, in order."""
        id = joined(_scope(app_name, user_id, session_id, filename), filename)
        return [version.version for version in await self._all(id)]

    @override
    async def list_artifact_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[ArtifactVersion]:
        """List what is known of an artifact's versions, in order."""
        id = joined(_scope(app_name, user_id, session_id, filename), filename)
        return [_described(each, app_name, user_id, filename, session_id) for each in await self._all(id)]

    @override
    async def get_artifact_version(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None, version: int | None = None
    ) -> ArtifactVersion | None:
        """Return what is known of the newest version, or of the one with a number; `None` if there is none."""
        found = await self._version(_scope(app_name, user_id, session_id, filename), filename, version)
        return None if found is None else _described(found, app_name, user_id, filename, session_id)

    async def erase_user(self, *, app_name: str, user_id: str) -> int:
        """Delete all artifacts of a user in an app, also those of sessions; return how many. Safe to repeat."""
        ids = await self._artifacts.ids("owner", joined(app_name, user_id))
        for id in ids:
            await self._delete(id)
        return len(ids)

    # Implementation.

    async def _delete(self, id: str) -> None:
        at = self._artifacts.key(id)
        while (item := (await self._driver.get([at]))[0]) is not None:
            for version in await self._all(id):
                if version.blob is not None:
                    await self._blobs.delete(version.blob)
                await self._versions.delete(version.id)

            def plan(reads: ReadSet, etag: str = item.etag) -> Plan[None]:
                unchanged = (now := reads[at]) is not None and now.etag == etag
                return Plan(self._artifacts.plan_delete(reads, id) if unchanged else [], None)

            await transact(self._driver, [at], plan)

    async def _all(self, id: str) -> list[_Version]:
        found = [version async for version in self._versions.find("artifact", id)]
        return sorted(found, key=lambda version: version.version)

    async def _version(self, scope: str, filename: str, number: int | None) -> _Version | None:
        id = joined(scope, filename)
        if number is None:
            artifact = await self._artifacts.get(id)
            if artifact is None:
                return None
            number = artifact.following - 1
        return await self._versions.get(joined(id, str(number)))

    async def _whole(self, part: types.Part, version: _Version) -> types.Part | None:
        if version.blob is not None and part.inline_data is not None:
            try:
                part.inline_data.data = await self._blobs.read_bytes(version.blob)
            except NotFoundError:  # deleted meanwhile
                return None
        return None if part in (_REMOVED, types.Part()) else part


def _scope(app_name: str, user_id: str, session_id: str | None, filename: str) -> str:
    util.validate_path_segment(app_name, "app_name")
    util.validate_path_segment(user_id, "user_id")
    if filename.startswith("user:"):
        return joined(app_name, user_id)
    if session_id is None:
        raise InputValidationError("Session ID must be provided for session-scoped artifacts.")
    util.validate_path_segment(session_id, "session_id")
    return joined(app_name, user_id, session_id)


def _mime_type(part: types.Part, app_name: str, user_id: str, session_id: str | None) -> str | None:
    """The type of a part's contents. Raises `InputValidationError` for one that no artifact service stores."""
    if part.inline_data is not None:
        return part.inline_data.mime_type
    if part.text is not None:
        return "text/plain"
    if part.file_data is None:
        raise InputValidationError("Not supported artifact type.")
    if not util.is_artifact_ref(part):
        return part.file_data.mime_type
    to = util.parse_artifact_uri(str(part.file_data.file_uri))
    if to is None:
        raise InputValidationError(f"Invalid artifact reference URI: {part.file_data.file_uri}")
    util.validate_artifact_reference_scope(app_name=app_name, user_id=user_id, session_id=session_id, parsed_uri=to)
    return None


def _described(
    version: _Version, app_name: str, user_id: str, filename: str, session_id: str | None
) -> ArtifactVersion:
    within = None if filename.startswith("user:") else session_id
    return ArtifactVersion(
        version=version.version,
        canonical_uri=util.get_artifact_uri(app_name, user_id, filename, version.version, within),
        custom_metadata=version.custom_metadata,
        create_time=version.create_time,
        mime_type=version.mime_type,
    )
