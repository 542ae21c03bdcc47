"""Every task of the project: `nox -l` lists them, `nox -s tests` runs one. uv does the installing where it is found.

Environment: LIMPET_REQUIRE_BACKENDS=1 makes a backend that cannot be tested a failure. LIMPET_RESOLUTION is
`constraints` (the versions in constraints.txt, the default), `newest`, or `lowest-direct` (needs uv).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests"]
nox.options.stop_on_first_error = False

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
PACKAGES = sorted(str(found.parent.relative_to(ROOT)) for found in ROOT.glob("packages/*/pyproject.toml"))
PACKAGES += [place for place in ("conformance",) if (ROOT / place / "pyproject.toml").exists()]
# An installed plug-in changes every test: the packaging test installs that example in an environment of its own.
EXAMPLES = sorted(
    str(found.parent.relative_to(ROOT))
    for found in ROOT.glob("examples/*/pyproject.toml")
    if "limpet.plugins" not in nox.project.load_toml(found)["project"].get("entry-points", {})
)
SOURCES = [
    place
    for place in (*PACKAGES, "tests", "examples", "benchmarks", "scripts", "noxfile.py")
    if (ROOT / place).exists()
]


def dependency_group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def install(session: nox.Session, *groups: str) -> None:
    """Install every package of the project, editable, with all extras that exist, and these dependency groups."""
    wanted = [requirement for group in groups for requirement in dependency_group(group)]
    extras = {"packages/limpet": "[all]", "packages/limpet-mysql": "[asyncmy]", "conformance": "[servers]"}
    places = [package + extras.get(package, "") for package in PACKAGES + EXAMPLES]
    editable = [part for place in places for part in ("-e", place)]
    session.install(*resolution(session), *editable, *wanted)


RESOLUTIONS = {
    "constraints": ["-c", "constraints.txt"],
    "newest": ["--upgrade"],
    "lowest-direct": ["--resolution", "lowest-direct"],
}


def resolution(session: nox.Session) -> list[str]:
    chosen = os.environ.get("LIMPET_RESOLUTION", "constraints")
    if chosen not in RESOLUTIONS:
        session.error(f"LIMPET_RESOLUTION is {chosen!r}: use one of {', '.join(RESOLUTIONS)}")
    return RESOLUTIONS[chosen]


@nox.session
def demo(session: nox.Session) -> None:
    """A conversation and a counter on SQLite, killed and resumed."""
    session.install(*resolution(session), "-e", "packages/limpet[cli,sqlite]", "-e", "packages/limpet-sqlite")
    session.run("limpet", "demo", *session.posargs)


# Much of a test is waiting for a server, so there is one worker more than processors. Files are taken as they come: a
# few long tests make up a file as well as many short ones.
PARALLEL = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "--no-loadscope-reorder")


@nox.session
def tests(session: nox.Session) -> None:
    """What every change has to pass, in about ten minutes: all that is not the same once more. `-- PATH` for a part of it."""
    install(session, "test", "build")
    session.run("pytest", *PARALLEL, "-m", "not again and not exhaustive and not slow", *session.posargs)


@nox.session
def everything(session: nox.Session) -> None:
    """Every test there is: encrypted, wrapped, mutated and on every server, too."""
    install(session, "test", "build")
    session.run("pytest", *PARALLEL, *session.posargs)


ADAPTERS = sorted(found.parent.name.removeprefix("limpet-") for found in ROOT.glob("adapters/*/pyproject.toml"))


def python_of(adapter: str) -> str:
    """This Python, or for a framework that needs a newer one, the newest that is there."""
    project = nox.project.load_toml(f"adapters/limpet-{adapter}/pyproject.toml")["project"]
    needed = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    if sys.version_info[:2] >= needed:
        return sys.executable
    pyenv = sorted(
        Path.home().glob(".pyenv/versions/3.*/bin/python3"),
        key=lambda found: tuple(map(int, found.parts[-3].split("."))),
    )
    here = [shutil.which(f"python3.{minor}") for minor in range(needed[1], 20)]
    found = [each for each in [*map(str, pyenv), *(each for each in here if each)] if _runs(each, needed)]
    return found[-1] if found else f"3.{needed[1]}"


def _runs(python: str, needed: tuple[int, ...]) -> bool:
    asked = [python, "-c", f"import sys, sqlite3; sys.exit(sys.version_info[:2] < {needed})"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@nox.session
@nox.parametrize("python,adapter", [(python_of(adapter), adapter) for adapter in ADAPTERS], ids=ADAPTERS)
def adapters(session: nox.Session, adapter: str) -> None:
    """The adapters for frameworks, by their own tests and the frameworks': `-- openai-agents sqlite` on one database."""
    chosen = [name for name in session.posargs if name in ADAPTERS]
    if chosen and adapter not in chosen:
        session.skip(f"{adapter} was not asked for")
    folder = ROOT / f"adapters/limpet-{adapter}"
    project = nox.project.load_toml(folder / "pyproject.toml")
    wanted = nox.project.dependency_groups(project, "proof")
    drivers = [f"packages/limpet-{name}" for name in ("sqlite", "fs", "redis", "mongodb", "postgresql", "mysql")]
    places = ["packages/limpet[cli,encryption]", *drivers, "conformance", str(folder.relative_to(ROOT))]
    editable = [part for place in places for part in ("-e", place)]
    constraints = folder / "constraints.txt"  # of its own: frameworks contradict each other, and ours
    session.install(*editable, *wanted, *ADAPTER_TOOLS, *(("-c", str(constraints)) if constraints.exists() else ()))
    databases = [name for name in session.posargs if name not in ADAPTERS]
    warned = project["tool"].get("pytest", {}).get("ini_options", {}).get("filterwarnings", [])
    pytest = ("pytest", "-c", "pyproject.toml", *(f"-W{each}" for each in warned))
    beside = {"PYTHONPATH": str(ROOT / "adapters")}
    session.run(*pytest, str(folder / "tests"), env=beside)
    session.run(*pytest, "tests/test_documentation.py", "-k", f"frameworks/{adapter}")
    mypy = ("mypy", "--config-file", "pyproject.toml")
    session.run(*mypy, str(folder / "src"))
    for example in sorted(map(str, ROOT.glob(f"examples/frameworks/{adapter.replace('-', '_')}*.py"))):
        session.run(*mypy, example)
    if (folder / "proof.toml").exists():
        session.run("python", "-m", "proof", str(folder), *databases, env=beside)


ADAPTER_TOOLS = (
    "pip",
    "mypy>=1.18",
    "pyyaml>=6",
    "pytest>=9.0",
    "pytest-asyncio>=1.4",
    "pytest-timeout>=2.4",
    "rich>=13.7",
)

SUITES = {
    Path(found).parts[-3].removeprefix("limpet-"): found
    for found in sorted(map(str, ROOT.glob("packages/*/tests/test_conformance.py")))
}
KINDS = {
    "memory": ("limpet", ""),
    "mariadb": ("mysql", "OnMariadb"),
    "mysql": ("mysql", "OnMysql"),
    "valkey": ("redis", ""),
}
"""What is not called like its package: where its suites are, and which of them are its own."""


@nox.session
def conformance(session: nox.Session) -> None:
    """The conformance suite alone: on every driver that can be tested here, or `-- redis` on one of them."""
    install(session, "test")
    names = [name for name in session.posargs if name in (*SUITES, *KINDS)]
    others = [part for part in session.posargs if part not in names]
    for name in names or [""]:
        package, chosen = KINDS.get(name, (name, ""))
        suites = [SUITES[package]] if package else list(SUITES.values())
        session.run("pytest", *suites, *(["-k", chosen] if chosen else []), *others)


@nox.session
def faults(session: nox.Session) -> None:
    """Servers and networks that fail, on every server that can be tested here; writes the table of docs/inside/faults.md."""
    install(session, "test")
    session.run("pytest", "tests/faults", "--fault-table", "docs/inside/faults.md", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, imports and the order of the floors; the workflow, whose actions are pinned by commit."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session
def audit(session: nox.Session) -> None:
    """Whether a version in constraints.txt has a known vulnerability; a version that cannot be looked up is an error, too."""
    session.install(*dependency_group("audit"))
    session.run("pip-audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", "--strict")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, on every source and test; pyright on the public surface, where no type may be left to guess."""
    install(session, "types", "build")
    session.install("nox")
    for place in session.posargs or SOURCES:  # one by one: every package has a tests/test_conformance.py
        session.run("mypy", place)
    if not session.posargs:
        public = os.pathsep.join(str(ROOT / place) for place in ("packages/limpet/src", "conformance/src"))
        with session.chdir(session.create_tmp()):  # here pyright takes the sources for its project, there for a library
            session.run("pyright", "--verifytypes", "limpet", "--ignoreexternal", env={"PYTHONPATH": public})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a broken link or reference is an error."""
    if not (ROOT / "zensical.toml").exists() and not (ROOT / "mkdocs.yml").exists():
        session.error("there is no documentation to build: neither zensical.toml nor mkdocs.yml")
    install(session, "docs")
    if (ROOT / "zensical.toml").exists():
        session.run("zensical", "build", "--clean", "--strict", *session.posargs)
    else:
        session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with the peers: a table, and JSON in benchmarks/results/. `-- servers server-messages` for the servers."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(python="3.12")
def bench_agents(session: nox.Session) -> None:
    """Beside Naylence, by itself: what it pins contradicts the constraints and the other peers."""
    ours = ("-e", "packages/limpet[encryption]", "-e", "packages/limpet-sqlite")
    session.install(*ours, *dependency_group("bench-agents"))
    session.run("python", "-m", "benchmarks", "agents")


@nox.session
def build(session: nox.Session) -> None:
    """A wheel and a source archive of every package, in dist/."""
    session.install(*dependency_group("build"))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for package in [*PACKAGES, *(f"adapters/limpet-{adapter}" for adapter in ADAPTERS)]:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", "dist", package)


if __name__ == "__main__":
    sys.exit("run it with nox: pip install nox && nox -l")
