"""The rules that ADK documents for artifact services."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from google.adk.artifacts import artifact_util
from google.adk.artifacts.base_artifact_service import ArtifactVersion
from google.adk.errors.input_validation_error import InputValidationError
from google.adk.events import Event, EventActions
from google.adk.runners import Runner
from google.genai import types
from limpet import InvalidValueError, Persistence
from limpet_adapters.adk import LimpetArtifactService, LimpetSessionService

OF: Any = {"app_name": "app", "user_id": "ada", "session_id": "s1"}


@pytest.fixture
def service(persistence: Persistence) -> LimpetArtifactService:
    return LimpetArtifactService(persistence)


def data(contents: bytes) -> types.Part:
    return types.Part.from_bytes(data=contents, mime_type="image/png")


async def test_versions_count_from_zero_and_come_back_equal(service: LimpetArtifactService) -> None:
    parts = [
        data(b"one"),
        types.Part(text="two"),
        types.Part(inline_data=types.Blob(data=b"\xff" * 10, mime_type="video/mp4", display_name="film")),
        types.Part(file_data=types.FileData(file_uri="gs://bucket/file", mime_type="image/png")),
    ]
    for number, part in enumerate(parts):
        assert await service.save_artifact(**OF, filename="dir/a.png", artifact=part) == number
    for number, part in enumerate(parts):
        assert await service.load_artifact(**OF, filename="dir/a.png", version=number) == part
    assert await service.load_artifact(**OF, filename="dir/a.png") == parts[-1]
    assert await service.list_versions(**OF, filename="dir/a.png") == [0, 1, 2, 3]
    for missing in (4, -1):
        assert await service.load_artifact(**OF, filename="dir/a.png", version=missing) is None
        assert await service.get_artifact_version(**OF, filename="dir/a.png", version=missing) is None
    assert await service.load_artifact(**OF, filename="a.png") is None


async def test_what_is_known_of_versions(service: LimpetArtifactService) -> None:
    for number in range(12):
        meta = {"n": number} if number else None
        await service.save_artifact(**OF, filename="f", artifact=data(b"x"), custom_metadata=meta)
    found = await service.list_artifact_versions(**OF, filename="f")
    assert [each.version for each in found] == list(range(12)) == await service.list_versions(**OF, filename="f")
    assert [each.custom_metadata for each in found] == [{}, *({"n": number} for number in range(1, 12))]
    assert found[0].mime_type == "image/png"
    assert found[0].canonical_uri == "artifact://apps/app/users/ada/sessions/s1/artifacts/f/versions/0"
    assert found[0].create_time > 1_700_000_000
    assert await service.get_artifact_version(**OF, filename="f") == found[-1]
    assert await service.get_artifact_version(**OF, filename="f", version=3) == found[3]
    assert await service.get_artifact_version(**OF, filename="unknown") is None
    assert await service.list_artifact_versions(**OF, filename="unknown") == []
    await service.save_artifact(**OF, filename="user:f", artifact=types.Part(text="x"))
    (own,) = await service.list_artifact_versions(**OF, filename="user:f")
    assert isinstance(own, ArtifactVersion)
    assert (own.mime_type, own.canonical_uri) == (
        "text/plain",
        "artifact://apps/app/users/ada/artifacts/user:f/versions/0",
    )


async def test_a_users_artifacts_are_seen_in_all_sessions(service: LimpetArtifactService) -> None:
    await service.save_artifact(**OF, filename="user:photo", artifact=data(b"p"))
    await service.save_artifact(app_name="app", user_id="ada", filename="user:b", artifact=data(b"b"))
    await service.save_artifact(**OF, filename="plan", artifact=data(b"1"))
    await service.save_artifact(**{**OF, "session_id": "s2"}, filename="other", artifact=data(b"2"))
    assert await service.list_artifact_keys(**OF) == ["plan", "user:b", "user:photo"]
    assert await service.list_artifact_keys(app_name="app", user_id="ada") == ["user:b", "user:photo"]
    assert await service.list_artifact_keys(app_name="app", user_id="bob", session_id="s1") == []
    found = await service.load_artifact(app_name="app", user_id="ada", session_id="s9", filename="user:photo")
    assert found == data(b"p")
    for name in await service.list_artifact_keys(**OF):
        assert await service.load_artifact(**OF, filename=name) is not None


async def test_a_deleted_artifact_starts_anew(service: LimpetArtifactService, persistence: Persistence) -> None:
    for number in range(3):
        await service.save_artifact(**OF, filename="f", artifact=data(bytes([number])))
    await service.save_artifact(**OF, filename="kept", artifact=data(b"\x01"))
    await service.delete_artifact(**OF, filename="f")
    await service.delete_artifact(**OF, filename="f")
    assert await service.load_artifact(**OF, filename="f") is None
    assert await service.list_versions(**OF, filename="f") == []
    assert await service.list_artifact_keys(**OF) == ["kept"]
    assert len(await persistence.blobs.list()) == 1, "the bytes are gone as well"
    assert await service.load_artifact(**OF, filename="kept") == data(b"\x01")
    assert await service.save_artifact(**OF, filename="f", artifact=data(b"new")) == 0


async def test_one_user_is_erased(service: LimpetArtifactService, persistence: Persistence) -> None:
    for names in (OF, {**OF, "session_id": "s2"}, {**OF, "user_id": "bob"}, {**OF, "app_name": "other"}):
        for filename in ("f", "f", "user:g"):
            await service.save_artifact(**names, filename=filename, artifact=data(filename.encode()))
    assert await service.erase_user(app_name="app", user_id="ada") == 3
    assert await service.erase_user(app_name="app", user_id="ada") == 0
    assert await service.list_artifact_keys(**OF) == []
    for names in ({**OF, "user_id": "bob"}, {**OF, "app_name": "other"}):
        assert await service.list_artifact_keys(**names) == ["f", "user:g"]
        assert await service.load_artifact(**names, filename="f") == data(b"f")
    assert len(await persistence.blobs.list()) == 6


async def test_concurrent_saves_get_different_versions(service: LimpetArtifactService) -> None:
    saves = (service.save_artifact(**OF, filename="f", artifact=data(b"%d" % n)) for n in range(12))
    numbers = await asyncio.gather(*saves)
    assert sorted(numbers) == list(range(12))
    for n, number in enumerate(numbers):
        assert await service.load_artifact(**OF, filename="f", version=number) == data(b"%d" % n)


async def test_an_artifact_may_be_long(service: LimpetArtifactService, reopened: Callable[[], Persistence]) -> None:
    film = data(os.urandom(3_000_000))
    await service.save_artifact(**OF, filename="film", artifact=film)
    assert await LimpetArtifactService(reopened()).load_artifact(**OF, filename="film") == film


async def test_parts_as_mappings(service: LimpetArtifactService) -> None:
    for fields in (
        {"inlineData": {"data": "eA==", "mimeType": "image/png"}},
        {"inline_data": {"data": b"x", "mime_type": "image/png"}},
    ):
        await service.save_artifact(**OF, filename="f", artifact=fields)
        assert await service.load_artifact(**OF, filename="f") == data(b"x")


async def test_references_are_followed_within_their_scope(service: LimpetArtifactService) -> None:
    def to(filename: str, session: str | None = "s1", user: str = "ada") -> types.Part:
        uri = artifact_util.get_artifact_uri("app", user, filename, 0, session)
        return types.Part(file_data=types.FileData(file_uri=uri, mime_type="image/png"))

    await service.save_artifact(**OF, filename="user:photo", artifact=data(b"p"))
    await service.save_artifact(**OF, filename="one", artifact=to("user:photo", None))
    await service.save_artifact(**OF, filename="two", artifact=to("one"))
    assert await service.load_artifact(**OF, filename="two") == data(b"p")
    for outside in (to("f", "s2"), to("user:f", None, "bob")):
        with pytest.raises(InputValidationError):
            await service.save_artifact(**OF, filename="three", artifact=outside)
    await service.save_artifact(**OF, filename="loop", artifact=to("loop"))
    with pytest.raises(InputValidationError, match="recursion"):
        await service.load_artifact(**OF, filename="loop")


async def test_what_is_refused_stores_nothing(service: LimpetArtifactService, persistence: Persistence) -> None:
    for names in (
        {**OF, "user_id": "../bob"},
        {**OF, "app_name": ""},
        {**OF, "session_id": None},
        {**OF, "session_id": "a\0"},
    ):
        with pytest.raises(InputValidationError):
            await service.save_artifact(**names, filename="f", artifact=data(b"x"))
    with pytest.raises(InputValidationError):
        await service.save_artifact(**OF, filename="f", artifact=types.Part())
    with pytest.raises(InvalidValueError):
        await service.save_artifact(**OF, filename="f", artifact=data(b"x"), custom_metadata={"a": object()})
    assert (await service.list_artifact_keys(**OF), await persistence.blobs.list()) == ([], [])


@pytest.mark.parametrize(
    "hostile", ["../../x", "a/versions/1", "ä 😀", 'quote"], ["', "x" * 2000, "", "user:", "user:../x"]
)
async def test_hostile_names_are_names(service: LimpetArtifactService, hostile: str) -> None:
    await service.save_artifact(**OF, filename=hostile, artifact=data(b"x"))
    assert await service.list_artifact_keys(**OF) == [hostile]
    assert await service.load_artifact(**OF, filename=hostile) == data(b"x")


async def test_a_rewind_restores_artifacts(service: LimpetArtifactService, persistence: Persistence) -> None:
    from google.adk.agents import BaseAgent

    sessions = LimpetSessionService(persistence)
    session = await sessions.create_session(**OF)
    for number, names in ((1, ["old"]), (2, ["old", "new"])):
        delta = {}
        for name in names:
            delta[name] = await service.save_artifact(**OF, filename=name, artifact=data(b"%d" % number))
        event = Event(author="user", invocation_id=f"i{number}", actions=EventActions(artifact_delta=delta))
        await sessions.append_event(session, event)
    agent = BaseAgent(name="a")
    async with Runner(app_name="app", agent=agent, session_service=sessions, artifact_service=service) as runner:
        await runner.rewind_async(user_id="ada", session_id="s1", rewind_before_invocation_id="i2")
    assert await service.load_artifact(**OF, filename="old") == data(b"1")
    assert await service.load_artifact(**OF, filename="new") is None
    assert await service.list_versions(**OF, filename="old") == [0, 1, 2]
