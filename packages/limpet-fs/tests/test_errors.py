"""Every error of the system becomes one of ours, and says what to do."""

import errno

import pytest
from limpet._errors import ConfigurationError, InvalidKeyError, LimpetError, ReadOnlyError, UnavailableError
from limpet.driver import Put
from limpet_drivers.fs import FsDriver
from limpet_drivers.fs._errors import translated


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_code_is_mapped(code: int) -> None:
    error = translated(OSError(code, "what happened", "/some/file"))
    assert isinstance(error, LimpetError)
    assert not (isinstance(error, UnavailableError) and error.sent)
    assert "/some/file" in str(error) or code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@pytest.mark.parametrize(
    ("code", "ours", "says"),
    [
        (errno.ENOSPC, UnavailableError, "the disk is full"),
        (errno.EROFS, ReadOnlyError, "read-only"),
        (errno.EACCES, UnavailableError, "permission to read and write"),
        (errno.EPERM, UnavailableError, "permission to read and write"),
        (errno.ENAMETOOLONG, InvalidKeyError, "shorter key"),
        (errno.ENOTDIR, ConfigurationError, "something else is where"),
        (errno.EMFILE, UnavailableError, "limit"),
        (errno.ENOENT, UnavailableError, "removed while it was in use"),
        (errno.EIO, UnavailableError, "the file system failed"),
    ],
)
def test_what_it_says(code: int, ours: type[LimpetError], says: str) -> None:
    error = translated(OSError(code, "what happened"))
    assert type(error) is ours
    assert says in str(error)


def test_an_error_without_a_code() -> None:
    assert isinstance(translated(OSError("just words")), UnavailableError)


async def test_calls_raise_ours(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("base")
    (base / "file").write_text("")
    with pytest.raises(ConfigurationError):
        await FsDriver(base / "file").open()
    deep = base.joinpath(*["d" * 200] * 15)
    async with FsDriver(deep) as driver:
        with pytest.raises(InvalidKeyError, match="shorter key") as caught:
            await driver.apply([Put("kv!@" + "é" * 80 + "!@" + "é" * 80 + "!@" + "é" * 80, "1")])
        assert isinstance(caught.value.__cause__, OSError)
        await driver.apply([Put("kv!@a", "1")])
