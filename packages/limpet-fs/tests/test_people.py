"""What people, editors and version control do to the files while drivers have them open."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from limpet._errors import ConfigurationError, ConflictError
from limpet.driver import Delete, Item, Put, Range, key, name, text
from limpet_drivers.fs import FsDriver

IMG = key(name("images"), text("img_1"))
VALUE = '{"name":"My Assistant","tags":["a","b"]}'


def kv(*texts: str) -> str:
    return key(name("kv"), *(text(part) for part in texts))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[FsDriver, FsDriver]]:
    async with FsDriver(tmp_path) as one, FsDriver(tmp_path) as other:
        yield one, other


async def only(driver: FsDriver, wanted: str) -> Item | None:
    (item,) = await driver.get([wanted])
    return item


async def keys(driver: FsDriver, base: str = "") -> list[str]:
    return [item.key for item in (await driver.scan(Range(base, limit=1000))).items]


async def test_a_person_reads_what_was_put(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    await pair[0].apply([Put(IMG, VALUE), Put(kv("note"), "two\nlines"), Put(kv("raw"), b"\0\xff")])
    assert (tmp_path / "images" / "img_1.json").read_text() == json.dumps(json.loads(VALUE), indent=2) + "\n"
    assert (tmp_path / "kv" / "note.txt").read_bytes() == b"two\nlines"
    assert (tmp_path / "kv" / "raw.bin").read_bytes() == b"\0\xff"


async def test_an_edit_is_served_with_a_new_etag(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    put = Put(IMG, VALUE, ttl_ms=60_000)
    await pair[0].apply([put])
    file = tmp_path / "images" / "img_1.json"
    file.write_text('{ "name": "Renamed" }')
    found = [await only(driver, IMG) for driver in pair]
    assert found[0] is not None
    assert found[0].value == '{"name":"Renamed"}'
    assert found[0].etag != put.etag
    assert found[0].etag == found[1].etag if found[1] else False
    assert found[0].ttl_ms is not None, "an edit does not make an item live for ever"
    assert abs(found[0].updated_at - file.stat().st_mtime * 1000) < 2
    async with FsDriver(tmp_path) as third:
        again = await only(third, IMG)
        assert again is not None
        assert again.etag == found[0].etag
    with pytest.raises(ConflictError):
        await pair[1].apply([Put(IMG, "{}", put.etag)])
    await pair[1].apply([Put(IMG, "{}", found[0].etag)])


async def test_unchanged_content_keeps_its_etag(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    put = Put(IMG, VALUE)
    await pair[0].apply([put])
    file = tmp_path / "images" / "img_1.json"
    content = file.read_bytes()
    file.unlink()
    assert await only(pair[0], IMG) is None
    file.write_bytes(content)
    os.utime(file, (1, 1))
    for driver in pair:
        item = await only(driver, IMG)
        assert item is not None
        assert (item.value, item.etag) == (VALUE, put.etag)
    file.write_text(json.dumps(json.loads(VALUE), indent=8))
    item = await only(pair[0], IMG)
    assert item is not None
    assert (item.value, item.etag) == (VALUE, put.etag)


async def test_a_file_that_a_person_adds_is_an_item(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    await pair[0].apply([Put(IMG, VALUE)])
    assert await keys(pair[0]) == [IMG]
    for number in range(5):
        (tmp_path / "images" / f"added_{number}.json").write_text(json.dumps({"n": number}))
        added = key(name("images"), text(f"added_{number}"))
        assert added in await keys(pair[0], "images")
        assert added in await keys(pair[1])
        item = await only(pair[1], added)
        assert item is not None
        assert item.value == f'{{"n":{number}}}'
    (tmp_path / "kv" / "deep").mkdir(parents=True)
    (tmp_path / "kv" / "deep" / "er.txt").write_text("x")
    assert kv("deep", "er") in await keys(pair[0])
    assert await keys(pair[1], "kv") == [kv("deep", "er")]
    item = await only(pair[0], kv("deep", "er"))
    assert item is not None
    await pair[0].apply([Put(kv("deep", "er"), "y", item.etag)])
    await pair[1].apply([Delete(kv("deep", "er"))])
    assert not (tmp_path / "kv").exists()


async def test_a_file_that_a_person_removes_is_gone(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    await pair[0].apply([Put(IMG, VALUE), Put(kv("a"), "1"), Put(kv("b"), "2")])
    assert len(await keys(pair[0])) == 3
    (tmp_path / "kv" / "a.json").unlink()
    shutil.rmtree(tmp_path / "images")
    for driver in pair:
        assert await keys(driver) == [kv("b")]
        assert await only(driver, IMG) is None
        with pytest.raises(ConflictError):
            await driver.apply([Delete(kv("a"), cond=None), Put(IMG, "{}", "x" * 22)])  # type: ignore[arg-type]
    (tmp_path / "kv" / "a.json").write_text("7\n")
    assert await keys(pair[0]) == [kv("a"), kv("b")], "and it may come back"


async def test_a_file_that_changes_its_ending(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    await pair[0].apply([Put(kv("a"), "text")])
    (tmp_path / "kv" / "a.txt").rename(tmp_path / "kv" / "a.bin")
    item = await only(pair[0], kv("a"))
    assert item is not None
    assert item.value == b"text"
    assert await keys(pair[1]) == [kv("a")]
    await pair[0].apply([Put(kv("a"), "{}")])
    assert [path.name for path in (tmp_path / "kv").iterdir()] == ["a.json"]


async def test_foreign_files_are_left_alone(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    await pair[0].apply([Put(IMG, VALUE)])
    foreign = ["README.md", "images/Img_2.json", "images/.img_1.json.swp", "images/img_1 (copy).json", ".git/x.json"]
    foreign += ["Notes/a.json", "images/img_1.json.orig", "images/img_1.yaml"]
    for path in foreign:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("{}")
    for driver in pair:
        assert await keys(driver) == [IMG]
    assert await pair[0].clear("") == 1
    assert all((tmp_path / path).read_text() == "{}" for path in foreign)


async def test_broken_json_hurts_nobody_else(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    await pair[0].apply([Put(IMG, VALUE), Put(kv("a"), "1")])
    (tmp_path / "images" / "img_1.json").write_text('{"name": ')
    items = (await pair[1].scan(Range(""))).items
    assert [item.value for item in items] == ['{"name": ', "1"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
async def test_links_are_not_followed(
    pair: tuple[FsDriver, FsDriver], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.json").write_text('"secret"')
    (tmp_path / "kv").symlink_to(outside)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "img_1.json").symlink_to(outside / "secret.json")
    os.mkfifo(tmp_path / "images" / "pipe.json")
    driver = pair[0]
    assert await keys(driver) == []
    assert await driver.get([kv("secret"), IMG, key(name("images"), text("pipe"))]) == [None, None, None]
    for batch in ([Put(kv("new"), "1")], [Put(IMG, "1")], [Put(kv("deep", "er"), "1")]):
        with pytest.raises(ConfigurationError, match="move it away"):
            await driver.apply(batch)
    await driver.apply([Delete(kv("secret")), Delete(IMG)])
    outcomes = await driver.commit([[Put(kv("new"), "1")], [Put(key(name("other"), text("a")), "1")]])
    assert isinstance(outcomes[0], ConfigurationError)
    assert outcomes[1] is None
    assert [path.name for path in outside.iterdir()] == ["secret.json"]
    assert (outside / "secret.json").read_text() == '"secret"'
    assert (tmp_path / "images" / "img_1.json").is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
@pytest.mark.parametrize("linked", [".limpet", ".limpet/new"])
async def test_the_hidden_folder_is_no_link(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, linked: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("x")
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(outside)
    with pytest.raises(ConfigurationError, match="move it away"):
        await FsDriver(tmp_path).open()
    assert [path.name for path in outside.iterdir()] == ["precious"]


async def test_a_foreign_file_where_a_folder_is_needed(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("a file")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "img_1.json").mkdir()
    for batch in ([Put(kv("a"), "1")], [Put(IMG, "{}")]):
        with pytest.raises(ConfigurationError, match="move it away"):
            await pair[0].apply(batch)
    assert await pair[1].get([kv("a"), IMG]) == [None, None]
    assert (tmp_path / "kv").read_text() == "a file"
    (tmp_path / "kv").unlink()
    await pair[0].apply([Put(kv("a"), "1")])


async def test_the_hidden_folder_may_vanish(pair: tuple[FsDriver, FsDriver], tmp_path: Path) -> None:
    put = Put(IMG, VALUE)
    await pair[0].apply([put])
    shutil.rmtree(tmp_path / ".limpet")
    for driver in pair:
        item = await only(driver, IMG)
        assert item is not None
        assert item.value == VALUE
        assert item.etag != put.etag
        assert await keys(driver) == [IMG]
    await asyncio.gather(*(driver.apply([Put(kv(str(n)), "1")]) for n, driver in enumerate(pair)))
    assert len(await keys(pair[0])) == 3


@contextmanager
def repository(folder: Path) -> Iterator[None]:
    if shutil.which("git") is None:
        pytest.skip("there is no git on this machine")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.email", "test@example.invalid")
    git(folder, "config", "user.name", "test")
    yield


def git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True).stdout


async def test_version_control(tmp_path: Path) -> None:
    with repository(tmp_path):
        async with FsDriver(tmp_path) as driver:
            first, second = Put(IMG, VALUE), Put(IMG, '{"name":"second"}')
            await driver.apply([first, Put(kv("A b"), "x", ttl_ms=60_000)])
            git(tmp_path, "add", "-A")
            git(tmp_path, "commit", "-qm", "first")
            assert git(tmp_path, "ls-files").split() == ["images/img_1.json", "kv/^a+b.txt"]
            await driver.apply([second, Delete(kv("A b")), Put(kv("c"), "1")])
            git(tmp_path, "add", "-A")
            git(tmp_path, "commit", "-qm", "second")
            git(tmp_path, "checkout", "-q", "HEAD~1")
            item = await only(driver, IMG)
            assert item is not None
            assert item.value == VALUE
            assert item.etag != second.etag
            assert await keys(driver) == [IMG, kv("A b")]
            git(tmp_path, "checkout", "-q", "main")
            item = await only(driver, IMG)
            assert item is not None
            assert (item.value, item.etag) == (second.value, second.etag)
            assert await keys(driver) == [IMG, kv("c")]
            assert git(tmp_path, "status", "--porcelain") == ""
        clone = tmp_path / "Clone"
        git(tmp_path, "clone", "-q", str(tmp_path), str(clone))
        async with FsDriver(clone) as driver:
            assert await keys(driver) == [IMG, kv("c")]


async def test_records_of_removed_files_are_purged(tmp_path: Path) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put(IMG, VALUE), Put(kv("a"), "1")])
        (tmp_path / "images" / "img_1.json").unlink()
        assert await driver.purge() == 0
        assert (await driver.health()).details["records"] == "1"
        assert await keys(driver) == [kv("a")]
