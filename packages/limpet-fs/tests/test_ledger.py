"""The hidden folder: checkpoints, what is damaged, what is newer, what a dead writer left."""

import shutil
from pathlib import Path

import pytest
from limpet._errors import CorruptDataError, FormatError
from limpet.driver import Delete, Put, Range
from limpet_drivers.fs import FsDriver, _frames, _ledger
from limpet_drivers.fs._frames import BLOCK, Change, Entry, Header, frame, frames, marked

JOURNAL = Path(".limpet") / "journal"


async def values(base: Path) -> dict[str, object]:
    async with FsDriver(base) as driver:
        return {item.key: item.value for item in (await driver.scan(Range("", limit=1000))).items}


async def unfinished(base: Path, rounds: int) -> None:
    """Write rounds, and leave as a killed process does: without a checkpoint."""
    driver = FsDriver(base)
    await driver.open()
    for n in range(rounds):
        await driver.apply([Put("kv!@a", str(n)), Put(f"kv!@{n}", "x")])
    driver._thread.stop()
    driver._store.close()


def snapshot(base: Path) -> dict[str, bytes]:
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def test_frames_come_back() -> None:
    entry = Entry("json", "e" * 22, 1, None, "d")  # type: ignore[arg-type]
    changes = [Change("kv!@a", entry, b"content"), Change("kv!@é", None), Change("kv!@b", entry, b"")]
    raw = frame(7, changes) + frame(8, [])
    assert [(at, found) for _, at, found in frames(raw)] == [(7, changes), (8, [])]


def test_a_cut_or_changed_frame_is_none() -> None:
    entry = Entry("txt", "e" * 22, 1, 2, "d")  # type: ignore[arg-type]
    raw = frame(7, [Change("kv!@a", entry, b"content")])
    assert all(not list(frames(raw[:end])) for end in range(len(raw)))
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert not list(frames(changed)), at


def test_the_first_block() -> None:
    header = Header("g" * 22, "index-" + "i" * 22, 10**15, True)
    block = header.block(12345)
    assert len(block) == BLOCK
    assert Header.of(block) == header
    assert marked(block) == 12345
    assert marked(block[:480] + b"\1" * 32) == BLOCK


async def test_a_newer_layout_is_refused_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(_frames, "LAYOUT", 2)
        await unfinished(tmp_path, 2)
    before = snapshot(tmp_path)
    with pytest.raises(FormatError, match="upgrade"):
        await FsDriver(tmp_path).open()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"something else", b"\0" * 600, b"x" * 10_000])
async def test_a_damaged_journal_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    await unfinished(tmp_path, 2)
    (tmp_path / JOURNAL).write_bytes(content)
    before = snapshot(tmp_path)
    for _ in range(2):
        with pytest.raises(CorruptDataError, match=r"remove that folder"):
            await FsDriver(tmp_path).open()
    assert snapshot(tmp_path) == before
    shutil.rmtree(tmp_path / ".limpet")
    assert await values(tmp_path) == {"kv!@0": "x", "kv!@1": "x", "kv!@a": "1"}, "the advice works"


async def test_a_damaged_round_is_refused_and_left_alone(tmp_path: Path) -> None:
    await unfinished(tmp_path, 5)
    raw = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(raw[:700] + bytes([raw[700] ^ 1]) + raw[701:])
    before = snapshot(tmp_path)
    with pytest.raises(CorruptDataError, match="damaged at byte"):
        await FsDriver(tmp_path).open()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
async def test_a_damaged_index_is_refused_and_left_alone(tmp_path: Path, damage: str) -> None:
    async with FsDriver(tmp_path) as driver:
        await driver.apply([Put("kv!@a", "1")])
    (index,) = (tmp_path / ".limpet").glob("index-*")
    raw = index.read_bytes()
    if damage == "missing":
        index.unlink()
    else:
        index.write_bytes(raw[:-1] + (b"" if damage == "cut" else bytes([raw[-1] ^ 1])))
    before = snapshot(tmp_path)
    with pytest.raises(CorruptDataError, match="index-"):
        await FsDriver(tmp_path).open()
    assert snapshot(tmp_path) == before


async def test_half_a_round_at_the_end_never_happened(tmp_path: Path) -> None:
    await unfinished(tmp_path, 3)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + frame(1, [Change("kv!@a", None)])[:-1])
    async with FsDriver(tmp_path) as driver:
        (item,) = await driver.get(["kv!@a"])
        assert item is not None
        assert item.value == "2"


async def test_a_writer_that_died_before_its_files_followed(tmp_path: Path) -> None:
    """Seen by a driver that has been open all the time."""
    async with FsDriver(tmp_path) as witness:
        await witness.apply([Put("kv!@a", "1"), Put("kv!@b", "1")])
        dying = FsDriver(tmp_path)
        await dying.open()
        with pytest.MonkeyPatch.context() as death:
            death.setattr(dying._store._placing, "put_in_place", _die)
            with pytest.raises(RuntimeError, match="killed"):
                await dying.apply([Put("kv!@a", "2"), Delete("kv!@b"), Put("kv!@c", "2")])
        items = await witness.get(["kv!@a", "kv!@b", "kv!@c"])
        assert [None if item is None else item.value for item in items] == ["2", None, "2"]
        assert [item.key for item in (await witness.scan(Range(""))).items] == ["kv!@a", "kv!@c"]
        await dying.close()


def _die(changes: object) -> None:
    raise RuntimeError("killed")


async def test_after_a_kill_what_people_did_since_stays(tmp_path: Path) -> None:
    await unfinished(tmp_path, 2)
    (tmp_path / "kv" / "a.json").write_text("77\n")
    assert await values(tmp_path) == {"kv!@0": "x", "kv!@1": "x", "kv!@a": "77"}


async def test_every_process_follows_through_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ledger, "_DEAD", 10)
    async with FsDriver(tmp_path) as one, FsDriver(tmp_path) as other, FsDriver(tmp_path) as late:
        for n in range(30):
            await one.apply([Put("kv!@a", str(n)), Put(f"kv!@b{n % 3}", str(n)), Delete(f"kv!@b{(n + 1) % 3}")])
            await one._thread.run(one._checkpoints.finish)
            if n % 2:
                await other.apply([Put("kv!@other", str(n))])
            if n % 7 == 0:
                for driver in (other, late):
                    (item,) = await driver.get(["kv!@a"])
                    assert item is not None
                    assert item.value == str(n)
        for driver in (one, other, late):
            assert [item.value for item in (await driver.scan(Range(""))).items] == ["29", "28", "29", "29"]
            assert driver._store.ledger.entries == one._store.ledger.entries
        assert len(list((tmp_path / ".limpet").glob("index-*"))) == 1
        (index,) = (tmp_path / ".limpet").glob("index-*")
        rows = sum(len(changes) for _, _, changes in frames(index.read_bytes()))
        assert rows < 40, "overwritten records are left behind"
    async with FsDriver(tmp_path) as driver:
        assert len(driver._store.ledger.entries) == 4


async def test_leftovers_are_tidied(tmp_path: Path) -> None:
    await unfinished(tmp_path, 1)
    hidden = tmp_path / ".limpet"
    for leftover in ("journal-next", "index-old", "new/0", "new/restored"):
        (hidden / leftover).write_bytes(b"left")
    assert await values(tmp_path) == {"kv!@0": "x", "kv!@a": "0"}
    assert sorted(path.name for path in hidden.iterdir() if not path.name.startswith("index-")) == [
        ".gitignore",
        "journal",
        "lock",
        "lock.turn",
        "new",
    ]
    assert not (hidden / "index-old").exists()
    assert not list((hidden / "new").iterdir())
