"""Every code block of the README and the documentation is run, and every link leads somewhere.

What a page's blocks mean, by the word after the fence:

    python   run, top to bottom of a page in one namespace, in an empty folder; `await` may stand at the top level
    output   what the block before it printed, exactly; a `...` stands for any text
    sh       one command a line: `limpet ...` is run, others are compared with what the project has
    yaml     what a framework is told: each `class` in it can be imported; resources of Kubernetes: their command is run
    toml     what a driver's or plug-in's project file says: its entry points have to name groups that exist
    ini      units of systemd: checked, and the command in them is run
    mermaid  a diagram: arrows join what is declared, and a call that it shows is a method of that class
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from limpet.driver.kit import parse_url
from limpet.opening import driver_class, installed_drivers
from limpet.plugins import GROUP
from limpet_conformance.servers import running

from .schedules import check_resources, check_units

ROOT = Path(__file__).parents[1]


def _is_installed(page: Path) -> bool:
    """Whether the adapter that a page is about is here: it has an environment of its own (`nox -s adapters`)."""
    try:
        return find_spec(f"limpet_adapters.{page.stem.replace('-', '_')}") is not None
    except ModuleNotFoundError:
        return False


PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "conformance/README.md",
        *(page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "frameworks" or _is_installed(page)),
        *ROOT.glob("packages/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
    ]
)
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$")
_LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")
_GROUPS = {"limpet.drivers", GROUP}


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    code: str
    line: int
    """Of the page, where the code begins."""


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        at += 1
        if opening is None:
            continue
        start = at
        while lines[at].strip() != opening["fence"]:
            at += 1
        kind = opening["info"].strip()
        code = "\n".join(line.removeprefix(opening["indent"]) for line in lines[start:at])
        at += 1
        yield Block(kind, code + "\n", start + 1)


def prose_of(page: Path) -> str:
    kept, fence = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        found = _FENCE.match(line)
        if fence:
            fence = "" if found and line.strip() == fence else fence
        elif found:
            fence = found["fence"]
        else:
            kept.append(line)
    return _CODE.sub("", "\n".join(kept))


class Reader:
    """Does what a page says, in an empty folder."""

    def __init__(self, page: Path, folder: Path, runner: asyncio.Runner) -> None:
        self.page = page
        self.folder = folder
        self.runner = runner
        self.namespace: dict[str, Any] = {"__name__": f"page_{page.stem.replace('-', '_').lower()}"}
        self.printed: str | None = None

    def do(self, block: Block) -> None:
        match block.kind:
            case "python":
                self.printed = self.python(block)
            case "sh":
                self.printed = "".join(self.command(line) for line in block.code.splitlines() if line.strip())
            case "output":
                assert self.printed is not None, "there is no block before it that printed something"
                wanted = ".*".join(re.escape(part) for part in block.code.strip().split("..."))
                shown = "\n".join(line.rstrip() for line in self.printed.strip().splitlines())
                assert re.fullmatch(wanted, shown, re.DOTALL), f"printed was:\n{self.printed}"
                self.printed = None
            case "toml":
                assert _entry_point_groups(tomllib.loads(block.code)) <= _GROUPS
            case "yaml" if "apiVersion" in block.code:
                check_resources(block.code, self.folder, self.limpet)
            case "yaml":
                places = re.findall(r"\bclass: ([\w.]+)", block.code)
                assert places, "this names no class"
                assert all(callable(pkgutil.resolve_name(place)) for place in places)
            case "mermaid":
                _check_diagram(block.code)
            case "ini":
                check_units(block.code, self.folder, self.limpet)
            case other:
                raise AssertionError(f"a block of the kind {other!r}: this test does not know what to do with it")

    def python(self, block: Block) -> str:
        code = compile(
            "\n" * (block.line - 1) + block.code,
            str(self.page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            awaited = eval(code, self.namespace)
            if awaited is not None:
                self.runner.run(awaited)
        if block.code.startswith("# test_"):
            self.pytest(block)
        return printed.getvalue()

    def pytest(self, block: Block) -> None:
        """A test module: its first tests are run as its author would run them."""
        module = self.folder / block.code.split(maxsplit=2)[1]
        module.write_text(block.code, encoding="utf-8")
        _run(
            self.folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "test_a_put", module.name
        )

    def limpet(self, *arguments: str, fails: bool = False) -> str:
        return _run(self.folder, sys.executable, "-m", "limpet.cli", *arguments, fails=fails)

    def command(self, line: str) -> str:
        line, _, comment = line.partition("  #")
        fails = "exit status 1" in comment
        printed = ""
        for part in line.split("&&"):
            match words := shlex.split(part):
                case ["limpet", *arguments]:
                    printed += self.limpet(*arguments, fails=fails)
                case ["pytest", *places]:
                    _run(self.folder, sys.executable, "-m", "pytest", "-q", "--collect-only", *places)
                case [tool, "-s", *sessions] if Path(tool).name == "nox":
                    assert set(sessions) <= _nox_sessions(), f"the noxfile lacks one of {sessions}"
                case [tool, "install", *wanted] if Path(tool).name == "pip":
                    for requirement in wanted:
                        _check_requirement(requirement)
                case [("python3" | "python"), "-m", "venv", folder]:
                    assert f"{folder.split('/')[0]}/" in (ROOT / ".gitignore").read_text().split(), "git would see it"
                case _:
                    raise AssertionError(f"an unknown command, so nobody knows whether it works: {words}")
        return printed


def _run(folder: Path, *command: str, fails: bool = False) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 1) if fails else (done.returncode == 0), f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _nox_sessions() -> set[str]:
    functions = [
        node for node in ast.parse((ROOT / "noxfile.py").read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    return {function.name for function in functions if "nox.session" in map(ast.unparse, function.decorator_list)}


def _check_requirement(written: str) -> None:
    """`-e`, `-q` and `nox` as they are; ours with the extras that exist."""
    if written in ("-q", "-e", "nox", "pytest"):
        return
    found = re.fullmatch(r"(?P<place>[./\w-]+)(?:\[(?P<extras>[\w,]+)\])?", written)
    assert found, f"{written!r} is no requirement that this test understands"
    projects = {project["name"]: project for project in map(_project, _folders())}
    folder = ROOT / found["place"]
    project = _project(folder) if (folder / "pyproject.toml").exists() else projects[Path(found["place"]).name]
    extras = set(found["extras"].split(",")) if found["extras"] else set()
    assert extras <= set(project.get("optional-dependencies", {})), f"{written}: there is no such extra"


def _folders() -> list[Path]:
    return [found.parent for found in [*ROOT.glob("packages/*/pyproject.toml"), ROOT / "conformance/pyproject.toml"]]


def _project(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return project


def _entry_point_groups(document: dict[str, Any]) -> set[str]:
    return set(document["project"]["entry-points"])


def _check_diagram(written: str) -> None:
    """The names on both ends of an arrow are declared; in a sequence diagram the called class has the method."""
    kind, *lines = [line.strip() for line in written.splitlines()]
    assert kind.split()[0] in ("flowchart", "sequenceDiagram"), f"an unknown kind of diagram: {kind}"
    if kind == "sequenceDiagram":
        labels = dict(re.findall(r"^participant (\w+) as ([^<\n]+)", "\n".join(lines), re.MULTILINE))
        for caller, called, method in re.findall(r"^(\w+)->>(\w+): (\w+)$", "\n".join(lines), re.MULTILINE):
            assert {caller, called} <= set(labels), f"{caller} or {called} is not a participant"
            assert method in _methods()[labels[called]], f"{labels[called]} has no method {method}"
        return
    declared = set(re.findall(r"(?:^|~~~ |subgraph )(\w+)[\[(]", "\n".join(lines), re.MULTILINE))
    joined = {name for line in lines if "-->" in line for name in line.split(" --> ")}
    assert joined, "a flowchart without an arrow"
    assert joined <= declared, f"not declared: {sorted(joined - declared)}"


@cache
def _methods() -> dict[str, set[str]]:
    """The methods that each class of the packages defines itself."""
    trees = [ast.parse(module.read_text(encoding="utf-8")) for module in ROOT.glob("packages/*/src/**/*.py")]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {each.name: {part.name for part in each.body if isinstance(part, functions)} for each in classes}


def _on_mysql(code: str) -> str:
    """With the server under test instead of the page's."""
    url = running("mysql").url
    at = parse_url(url)
    named = {"host": at.host, "port": at.port, "user": str(at.username), "password": at.password or ""}
    told = ", ".join(f"{name}={value!r}" for name, value in {**named, "db": at.path.removeprefix("/")}.items())
    code = code.replace("mysql://root@localhost/agents", url)
    return code.replace('host="localhost", user="root", db="agents"', told)


def _on_mongodb(code: str) -> str:
    """With the server under test instead of the page's."""
    url = running("mongodb").url.replace("/test", "/agents")
    at = parse_url(url)
    direct = "/?directConnection=true" if at.query.get("directConnection") else ""
    code = code.replace("mongodb://localhost:27017/agents?", f"{url}{'&' if '?' in url else '?'}")
    return code.replace("mongodb://localhost:27017", f"mongodb://{at.host}:{at.port}{direct}")


@pytest.fixture
def environment_as_it_was() -> Iterator[None]:
    """A page may set variables; the next one must not see them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def _with_servers(code: str) -> str:
    """The page on Redis, with servers that are there."""
    code = code.replace("redis://localhost:6379/0", running("redis").url)
    if "//node1:6379" in code:
        host, port = parse_url(running("redis-cluster").url).hosts[0]
        code = code.replace("//node1:6379", f"//{host}:{port}")
    return code


def _on_all_servers(code: str) -> str:
    """A page that goes through every driver."""
    code = code.replace("postgres://user:pass@localhost:5432/agentx", running("postgresql").url)
    return _on_mysql(_on_mongodb(_with_servers(code)))


@pytest.mark.usefixtures("environment_as_it_was")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMPET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    if page.name in ("postgresql.md", "agentomatic.md"):
        at = parse_url(running("postgresql").url)
        for name, value in {
            "HOST": at.host,
            "PORT": at.port,
            "USER": at.username,
            "PASSWORD": at.password or "",
        }.items():
            monkeypatch.setenv(f"PG{name}", str(value))
    with asyncio.Runner() as runner:
        reader = Reader(page, tmp_path, runner)
        for block in blocks_of(page):
            if page.name == "mysql.md":
                block = replace(block, code=_on_mysql(block.code))
            if page.name == "mongodb.md":
                block = replace(block, code=_on_mongodb(block.code))
            if page.name in ("redis.md", "agentomatic.md"):
                block = replace(block, code=_with_servers(block.code))
            if page.name == "agentx-guide.md":
                block = replace(block, code=_on_all_servers(block.code))
            try:
                reader.do(block)
            except BaseException as error:
                error.add_note(f"in the {block.kind} block at {page.relative_to(ROOT)}:{block.line}")
                raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    targets = [match["target"] for match in _LINK.finditer(prose_of(page))]
    files = [target.partition("#")[0] for target in targets if "://" not in target]
    missing = [file for file in files if file and not (page.parent / file).exists()]
    assert not missing


def test_the_readme_names_every_driver_and_nothing_that_is_not_there() -> None:
    rows = re.findall(r"^\| \[?`(\w+)://", (ROOT / "README.md").read_text(), re.MULTILINE)
    ours = {scheme for scheme in installed_drivers() if driver_class(scheme).__module__.startswith("limpet")}
    examples = {scheme for scheme in ours if driver_class(scheme).__module__ == "limpet_lmdb"}
    assert set(map(driver_class, rows)) == set(map(driver_class, ours - examples))


def test_the_example_of_a_driver_is_as_short_as_its_page_says() -> None:
    lines = (ROOT / "examples/limpet-example-driver/limpet_lmdb.py").read_text().count("\n")
    assert f"{lines} lines" in (ROOT / "docs/authors/writing-a-driver.md").read_text()
    assert lines < 150


def test_every_error_has_its_entry_in_the_page_on_troubleshooting() -> None:
    from limpet import _errors

    page = (ROOT / "docs/troubleshooting.md").read_text()
    titles = set(re.findall(r"^#+ .*?`(\w+)`", page, re.MULTILINE))
    errors = {name for name in _errors.__all__ if name.endswith("Error")} - {"LimpetError"}
    assert titles == errors


def test_every_page_is_in_the_navigation() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text())

    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            for value in entry.values():
                if isinstance(value, list):
                    yield from pages(value)
                else:
                    yield value

    named = list(pages(settings["project"]["nav"]))
    there = {found.relative_to(ROOT / "docs").as_posix() for found in (ROOT / "docs").rglob("*.md")}
    assert sorted(named) == sorted(there)


def test_a_block_of_an_unknown_kind_is_a_failure(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```brainfuck\n+\n```\n\n```sh\ncurl example.org\n```\n\n```output\nx\n```\n")
    with asyncio.Runner() as runner:
        for block in blocks_of(page):
            with pytest.raises(AssertionError):
                Reader(page, tmp_path, runner).do(block)


def test_a_page_that_says_something_wrong_is_a_failure(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```output\n2\n```\n")
    printing, wrong = blocks_of(page)
    with asyncio.Runner() as runner:
        reader = Reader(page, tmp_path, runner)
        reader.do(printing)
        with pytest.raises(AssertionError, match="printed was"):
            reader.do(wrong)


@pytest.mark.parametrize(
    "diagram",
    [
        "sequenceDiagram\nparticipant a as agent\nparticipant l as Log\na->>l: prepend\n",
        'flowchart TB\nstores["Stores"] ~~~ drivers["Drivers"]\nstores --> structures\n',
        "pie\n",
    ],
)
def test_a_diagram_of_what_is_not_there_is_a_failure(diagram: str) -> None:
    with pytest.raises(AssertionError):
        _check_diagram(diagram)
