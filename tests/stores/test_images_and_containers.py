"""Images and containers, on every driver."""

from __future__ import annotations

import asyncio

import pytest
from limpet import InvalidValueError, NotFoundError, Persistence
from limpet.driver import Range
from limpet.records import ContainerRecord, ImageRecord, SessionRecord, UserMessage

AWKWARD_NAMES = [
    "",
    "My Assistant",
    "What is this?",
    "a/b\\c:d",
    "foo",
    "foo/bar",
    "foo:bar",
    "[beta] bot *",
    "ends with ..",
    "..",
    "😀" * 300,
    "n" * 3000,
    "null",
    "1e5",
    "\x00",
    'quote " and # and !',
    "%2e",
    "CON",
    "é",
    "e\u0301",
]


async def save(
    persistence: Persistence, image_id: str, name: str = "x", created: int = 0, container: str = "c"
) -> None:
    await persistence.images.save_image(
        {
            "imageId": image_id,
            "containerId": container,
            "sessionId": f"s-{image_id}",
            "name": name,
            "createdAt": created,
        }
    )


async def test_any_name_finds_exactly_its_images(persistence: Persistence) -> None:
    for n, name in enumerate(AWKWARD_NAMES):
        await save(persistence, f"i{n}", name)
    for n, name in enumerate(AWKWARD_NAMES):
        assert [image.image_id for image in await persistence.images.find_images_by_name(name)] == [f"i{n}"], name
    assert len(await persistence.images.find_all_images()) == len(AWKWARD_NAMES)


async def test_any_id_works(persistence: Persistence) -> None:
    ids = ["1e5", "1.0", "null", "undefined", "NaN", '{"a":1}', "a:b", "a/b", "..", "I" * 900, "😀"]
    for id in ids:
        await save(persistence, id)
    for id in ids:
        image = await persistence.images.find_image_by_id(id)
        assert image is not None
        assert image.image_id == id
        assert await persistence.images.image_exists(id)
    found = await persistence.images.find_images_by_container_id("c")
    assert sorted(image.image_id for image in found) == sorted(ids)


async def test_a_rename_moves_the_index_entry(persistence: Persistence) -> None:
    await save(persistence, "i", "My Assistant")
    await save(persistence, "i", "Renamed")
    assert await persistence.images.find_images_by_name("My Assistant") == []
    assert len(await persistence.images.find_images_by_name("Renamed")) == 1
    await persistence.images.delete_image("i")
    assert await persistence.images.find_images_by_name("Renamed") == []
    assert [item.key for item in (await persistence.driver.scan(Range("images.by"))).items] == []


async def test_update_metadata_merges_concurrently(persistence: Persistence) -> None:
    await save(persistence, "i")
    await asyncio.gather(*(persistence.images.update_metadata("i", {f"k{n}": n}) for n in range(20)))
    image = await persistence.images.find_image_by_id("i")
    assert image is not None
    assert image.metadata == {f"k{n}": n for n in range(20)}
    assert image.updated_at is not None
    assert image.created_at is not None
    assert image.updated_at > image.created_at
    with pytest.raises(NotFoundError, match="Image not found: no"):
        await persistence.images.update_metadata("no", {})


async def test_records_keep_agentx_json_and_unknown_fields(persistence: Persistence) -> None:
    stored = {
        "imageId": "i",
        "containerId": "c",
        "sessionId": "s",
        "name": "n",
        "systemPrompt": "be kind",
        "mcpServers": {"fs": {"command": "x", "envVars": {"A_b": "1"}}},
        "createdAt": 1730227876509,
        "updatedAt": 1730227876509,
        "prototypeId": "p",
        "customData": {"snake_key": None},
    }
    await persistence.images.save_image(stored)
    image = await persistence.images.find_image_by_id("i")
    assert image is not None
    assert image.system_prompt == "be kind"
    assert image.model_extra == {"prototypeId": "p", "customData": {"snake_key": None}}
    (item,) = await persistence.driver.get(["images!@i"])
    assert item is not None
    assert isinstance(item.value, str)
    from json import loads

    assert loads(item.value) == stored


async def test_bad_records_are_refused_before_anything_is_written(persistence: Persistence) -> None:
    for bad in ({"imageId": "i"}, {"imageId": 1, "containerId": "c", "sessionId": "s"}, "text", None):
        with pytest.raises(InvalidValueError):
            await persistence.images.save_image(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="time zone"):
        await persistence.images.save_image(
            {
                "imageId": "i",
                "containerId": "c",
                "sessionId": "s",
                "createdAt": __import__("datetime").datetime(2026, 1, 1),
            }
        )
    assert await persistence.images.find_all_images() == []


async def test_deleting_leaves_what_belongs_to_it_unless_asked(persistence: Persistence) -> None:
    await persistence.containers.save_container(ContainerRecord(container_id="c"))
    await save(persistence, "i")
    await persistence.sessions.save_session(SessionRecord(session_id="s", image_id="i", container_id="c"))
    await persistence.sessions.add_message("s", UserMessage(content="x"))
    await persistence.images.delete_image("i")
    assert await persistence.sessions.session_exists("s")
    await save(persistence, "i")
    await persistence.images.delete_image("i", cascade=True)
    assert not await persistence.sessions.session_exists("s")
    assert await persistence.sessions.get_messages("s") == []
    assert await persistence.containers.container_exists("c")


async def test_a_container_goes_with_everything_in_one_batch(persistence: Persistence) -> None:
    await persistence.containers.save_container({"containerId": "c", "config": {"a": 1}})
    await persistence.containers.save_container(ContainerRecord(container_id="other"))
    for n in range(5):
        await save(persistence, f"i{n}")
        await persistence.sessions.save_session({"sessionId": f"s{n}", "imageId": f"i{n}", "containerId": "c"})
        await persistence.sessions.add_message(f"s{n}", UserMessage(content="x"))
    await persistence.sessions.save_session({"sessionId": "of an image elsewhere", "imageId": "i1", "containerId": "d"})
    await save(persistence, "stays", container="other")
    await persistence.containers.delete_container("c", cascade=True)
    assert [c.container_id for c in await persistence.containers.find_all_containers()] == ["other"]
    assert [image.image_id for image in await persistence.images.find_all_images()] == ["stays"]
    assert await persistence.sessions.find_all_sessions() == []
    await persistence.containers.delete_container("c")


async def test_newest_first_with_ties_by_id(persistence: Persistence) -> None:
    for id, created in (("b", 5), ("a", 5), ("c", 9), ("d", 1)):
        await save(persistence, id, created=created)
    found = [image.image_id for image in await persistence.images.find_all_images()]
    if not persistence.driver.capabilities.text_order:
        found[1:3] = sorted(found[1:3], reverse=True)
    assert found == ["c", "b", "a", "d"]


async def test_records_of_a_subclass_and_objects_are_accepted(persistence: Persistence) -> None:
    class Mine(ImageRecord):
        colour: str = "red"

    await persistence.images.save_image(Mine(image_id="i", container_id="c", session_id="s"))
    image = await persistence.images.find_image_by_id("i")
    assert image is not None
    assert image.model_extra == {"colour": "red"}
    assert image.name == "New Conversation"
