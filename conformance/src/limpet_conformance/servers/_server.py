"""A server under test, and what tests can do with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

__all__ = ["START_SECONDS", "Given", "Group", "Program", "Server", "free_port"]

_WATCHDOG = 'read -r _; pkill -KILL -P "$1"; kill -KILL "$1"; rm -rf "$2"'

START_SECONDS = 60.0
"""How long a server may take to start."""


class Server(ABC):
    """One running server."""

    url: str
    """The driver's URL, without options."""
    origin: str
    """Where it came from, for the report: `environment`, `docker postgres:18`, `program /usr/bin/redis-server`."""
    ours: bool = True
    """Whether it was started here, and so can be killed."""

    @abstractmethod
    def kill(self) -> None:
        """Kill it, as SIGKILL does. What it had acknowledged is on its disk."""

    @abstractmethod
    def start(self) -> None:
        """Start it again with the same data and port; return when it is ready."""

    @abstractmethod
    def pause(self) -> None:
        """Stop it (SIGSTOP): connections stay open, nothing is answered."""

    @abstractmethod
    def resume(self) -> None:
        """Let it continue."""

    @abstractmethod
    def end(self) -> None:
        """Stop it, and remove its files."""


class Given(Server):
    """A server that someone else runs: it is only used."""

    ours = False

    def __init__(self, url: str) -> None:
        self.url = url
        self.origin = "environment"

    def kill(self) -> None:
        raise RuntimeError(f"{self.origin} names this server: it is not ours to kill")

    start = pause = resume = kill

    def end(self) -> None:
        """It keeps running."""


class Program(Server):
    """A program on this machine, on a free loopback port, with its data in a temporary folder."""

    def __init__(
        self,
        url: str,
        program: str,
        command: Callable[[Path, int], Sequence[str]],
        *,
        prepare: Callable[[Path], Sequence[Sequence[str]]] = lambda folder: (),
        answers: Callable[[int], bool],
        user: str | None = None,
    ) -> None:
        """`url` contains `{port}`. `command` returns what to run for a data folder and a port.

        `prepare` returns what to run once before that. `user` is who runs it if we are root, for servers that refuse to
        run as root.
        """
        self.origin = f"program {program}"
        self._command = command
        self._answers = answers
        self._user = user if hasattr(os, "geteuid") and os.geteuid() == 0 else None
        self.port = free_port()
        self.url = url.format(port=self.port)
        self._folder = Path(tempfile.mkdtemp(prefix="limpet-server-"))
        self._data = self._folder / "data"
        self._data.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            self._folder.chmod(0o755)
            shutil.chown(self._data, self._user)
        for step in prepare(self._data):
            done = subprocess.run(list(step), user=self._user, capture_output=True, cwd=self._data, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(step)} failed:\n{done.stdout.decode()}{done.stderr.decode()}")
        self.start()

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                list(self._command(self._data, self.port)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._data,
                user=self._user,
                start_new_session=True,
            )
        self._watch(self._process.pid)
        until = monotonic() + START_SECONDS
        while not self._answers(self.port):
            if self._process.poll() is not None or monotonic() > until:
                said = (self._folder / "log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.origin} did not start:\n{said}")
            sleep(0.05)

    def _watch(self, server: int) -> None:
        """End the server when this process has ended, in any way: a shell waits for the end of its input."""
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(server), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # signals to the tests must not reach it
        )

    def kill(self) -> None:
        if self._watchdog is not None:  # before another process can have that number
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the server and the processes that it started, which may have their own groups."""
        assert self._process is not None
        for process in [self._process.pid, *_children(self._process.pid)]:
            with suppress(ProcessLookupError):  # already ended
                os.kill(process, number)


class Group(Server):
    """Several programs that form one server. A test can also act on one of its `members`."""

    def __init__(self, members: Sequence[Program]) -> None:
        self.members = list(members)

    def start(self) -> None:
        for member in self.members:
            member.start()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def pause(self) -> None:
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        for member in self.members:
            member.resume()

    def end(self) -> None:
        for member in self.members:
            member.end()


def _children(process: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False).stdout
    found = [int(line) for line in listed.split()]
    return found + [deeper for child in found for deeper in _children(child)]


def free_port() -> int:
    """Return a loopback port that nobody is listening on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
