"""Write `limpet.sync` from the asynchronous API: `python scripts/generate_sync.py`. A test keeps the output up to date.

Every public method of a store becomes one of the same signature and docstring that needs no `await`. What the
annotations do not tell is in the tables below.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages/limpet/src/limpet"
TARGET = CORE / "sync"

CLAIMED = ("structures/lease/_claimed_item.py", "ClaimedItem")
FAMILIES: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "_approvals": ("Approvals", {"stores/approvals/_approvals.py": ("ApprovalStore", "Claim")}),
    "_checkpoints": ("Checkpoints", {"stores/checkpoints/_store.py": ("CheckpointStore",)}),
    "_conversations": (
        "Containers, images, sessions and their messages",
        {
            "stores/conversations/_sessions.py": ("SessionRepository",),
            "stores/conversations/_images.py": ("ImageRepository",),
            "stores/conversations/_containers.py": ("ContainerRepository",),
        },
    ),
    "_driver": ("The driver", {"driver/_driver.py": ("Driver",)}),
    "_events": ("The event queue", {"stores/queues/_events.py": ("EventQueue",)}),
    "_jobs": ("The work queue", {"stores/queues/_jobs.py": ("WorkQueue",), "stores/queues/_job.py": ("Job",)}),
    "_persistence": ("All stores of an agent's data", {"stores/_persistence.py": ("Persistence",)}),
    "_records": (
        "Typed values by key, and the states of agents",
        {
            "stores/records/_key_value.py": ("KeyValueStore",),
            "stores/records/_tree.py": ("KeyValueTree",),
            "stores/records/_state.py": ("AgentState", "StateHistory"),
        },
    ),
    "_storage": (
        "Plain keys and values, and blobs",
        {"stores/storage/_storage.py": ("Storage",), "stores/storage/_blobs.py": ("BlobStore",)},
    ),
    "_threads": (
        "Threads with their messages, and feedback",
        {
            "stores/conversations/_threads.py": ("ThreadStore",),
            "stores/conversations/_feedback.py": ("FeedbackStore",),
        },
    ),
    "_upkeep": ("Upkeep in the background", {"stores/upkeep/_upkeep.py": ("Upkeep",)}),
}
"""Each file, the first line of its docstring, and its classes, by where they come from."""
BASES = {
    "Claim": CLAIMED,
    "Job": CLAIMED,
    "ThreadStore": ("stores/conversations/_thread_messages.py", "ThreadMessages"),
}
"""Base classes whose methods are written out, too."""
ROOTS = ("EventQueue", "Persistence", "Storage")
"""What is closed by itself: `sync/_face.py` has that."""
INTERNAL = {
    "CheckpointStore": {"keys", "plan_delete"},
    "Driver": {"close", "from_url", "open"},
    "EventQueue": {"start"},
    "KeyValueStore": {"at", "decode", "encode"},
    "SessionRepository": {"fork_with", "removal"},
}
INTERNAL_EVERYWHERE = {"removals", "retained"}
"""What stores have for each other."""
ATTRIBUTES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "AgentState": {
        "namespace": ("str", "The namespace that it lies in."),
        "key": ("str", "Its key there."),
        "history": ("StateHistory[T]", "Its last revisions."),
    },
    "Claim": {"approval": ("ApprovalRecord", "As claimed, with `attempts` and the decision.")},
    "Job": {
        "id": ("str", "The job's id."),
        "value": ("Any", "What was put."),
        "attempts": ("int", "How often it was claimed, this time included."),
    },
    "ThreadStore": {"feedback": ("FeedbackStore", "Feedback on the threads and their messages.")},
    "Upkeep": {"passes": ("int", "How many passes this object has done.")},
    "WorkQueue": {"name": ("str", "The queue's name."), "group": ("str", "The group that it claims for.")},
}
"""What `__init__` sets."""
BODIES = {
    ("AgentState", "with_state"): "with self as state:\n    return change(state)",
    ("EventQueue", "__aenter__"): "if not self._is_root:  # else it was started when it was opened\n"
    "    self._call(self._inner.start)\nreturn self",
}
ANNOTATIONS = {
    "EventCallback": "Callable[[Event], object]",
    "StorageCallback": "Callable[[Literal['update', 'remove'], str], object]",
    "Source": "bytes | Readable | Iterable[bytes]",
    "Unsubscribe": "Callable[[], None]",
    "Unwatch": "Callable[[], None]",
}
"""Aliases that say something else here."""
WRAPPED = {
    ("EventQueue", "subscribe", "callback"): "in_thread",
    ("Storage", "watch", "callback"): "in_thread",
    ("BlobStore", "create", "source"): "read_in_thread",
}
"""Arguments that the caller's own code is called through."""
FUNCTIONS = {
    "_create.py": ("create_persistence", "create_persistence_from_env", "create_storage"),
    "events.py": ("create_queue",),
    "_anywhere/_open.py": ("open_persistence", "open_persistence_from_env", "open_storage"),
}
DOCSTRINGS = {
    "Driver": "The driver of a place: an ordered map of keys to versioned values, for code of your own (`limpet.driver`).",
    "open_persistence": """Return the stores of an agent's data, opened by the first call.

    persistence = open_persistence("postgresql://host/agents")      # at the top of a module

For servers that fork after a module was imported: a child may use it if the parent had not yet. It can be closed with
`close()` or `with`; what is forgotten is closed when the interpreter exits. Takes the same as `create_persistence`. An
unknown scheme or option raises at once: `ConfigurationError`, `DriverNotFoundError`, `PluginError`. The first call raises
what opening raises, and the next one tries again.
""",
    "open_storage": "Return plain keys and values, opened by the first call: see `open_persistence`.",
}
"""Where the asynchronous one says something else."""
DOORS = ["driver", "records", "stores", "structures", "state", "opening", "wrappers"]
DOORS += [f"stores.{room}" for room in ("records", "conversations", "storage", "queues", "upkeep")]
"""Where public names are, the best first."""
OURS = {"Face": "._face", "Root": "._face", "Signal": "._face", "opened": "._face", "Listing": "._listing"}
OURS |= {"in_thread": "._callbacks", "read_in_thread": "._callbacks", "Readable": "._callbacks"}
STANDARD = {
    "Any": "typing", "Literal": "typing", "Self": "typing", "TypeVar": "typing", "Generic": "typing", "overload": "typing",
    "Callable": "collections.abc", "Generator": "collections.abc", "Iterable": "collections.abc",
    "Mapping": "collections.abc", "Sequence": "collections.abc", "TracebackType": "types", "Unpack": "typing", "timedelta": "datetime",
    "partial": "functools", "cached_property": "functools", "ConfigurationError": ".._errors", "ALL": ".._filters", "All": ".._filters",
}  # fmt: skip
SYNC = {name: file for file, (_, sources) in FAMILIES.items() for names in sources.values() for name in names}

HEADER = (
    '"""{0}, without `await`. Written by scripts/generate_sync.py: change the asynchronous API, and write it anew."""\n'
)
MAKES = re.compile(rf"(?P<list>list\[)?(?P<name>{'|'.join(SYNC)})(?P<of>\[.*\])?\]?")


def prose(text: str) -> str:
    """A docstring or a message about the same thing without `await`."""
    for old, new in (
        ("Call a function, plain or `async`, with", "Call a function with"),
        ("; a coroutine is awaited", ""),
        ("async with await ", "with "),
        ("async with", "with"),
        ("async for", "for"),
        ("await listing", "listing.page()"),
        ("await ", ""),
        ("aclose", "close"),
        ("a task that holds", "a thread that holds"),
        ("`NestedLeaseError` in a task that", "`NestedLeaseError` in a thread that"),
        ("across tasks and processes", "across threads and processes"),
        ("only one task at a time", "only one thread at a time"),
    ):
        text = text.replace(old, new)
    return text


@dataclass
class Module:
    """A source module: where its names come from, and what they stand for."""

    path: str
    tree: ast.Module = field(init=False)

    def __post_init__(self) -> None:
        self.tree = ast.parse((CORE / self.path).read_text(encoding="utf-8"))

    def class_of(self, name: str) -> ast.ClassDef:
        return next(node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == name)

    def function(self, name: str) -> ast.FunctionDef:
        return next(node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name == name)

    def standard(self) -> dict[str, str]:
        """What it imports from the standard library and by name."""
        found: dict[str, str] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found |= {alias.name: node.module for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.name: "" for alias in node.names}
        return found

    def constant(self, name: str) -> ast.expr | None:
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return node.value
        return None


class Output:
    """A generated file: its text, and the names that it uses."""

    def __init__(self, title: str, *sources: Module) -> None:
        self.title = title
        self.standard = dict(STANDARD)
        for source in sources:
            self.standard |= source.standard()
        self.parts: list[str] = []
        self.defined: list[str] = []
        self.variables: set[str] = set()

    def text(self) -> str:
        body = "\n\n".join(self.parts)
        names = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
        names |= {word for quoted in re.findall(r'"(\w+)"', body) for word in [quoted] if word in SYNC}
        variables = sorted(self.variables)
        if variables:
            names.add("TypeVar")
        imports: dict[str, set[str]] = {}
        for name in sorted(names - {*self.defined, *variables}):
            if (module := self._home(name)) is not None:
                imports.setdefault(module, set()).add(_imported(name))
        lines = [HEADER.format(self.title), "from __future__ import annotations\n"]
        lines += [f"import {name}" for name in sorted(imports.pop("", ()))]
        lines += [f"from {module} import {', '.join(sorted(each))}" for module, each in sorted(imports.items())]
        lines.append(f"\n__all__ = {sorted(self.defined)!r}\n")
        lines += [f'{name} = TypeVar("{name}")' for name in variables]
        return "\n".join([*lines, "", body]) + "\n"

    def _home(self, name: str) -> str | None:
        if name in self.standard:
            return self.standard[name]
        if name in OURS:
            return OURS[name]
        if name in SYNC:
            return f".{SYNC[name]}"
        if name == "give_back":
            return ".._anywhere"
        bare = name.removeprefix("Async")
        return next((f"..{door}" for door in DOORS if bare in importlib.import_module(f"limpet.{door}").__all__), None)


def _imported(name: str) -> str:
    if name.startswith("Async") and name.removeprefix("Async") in SYNC:
        return f"{name.removeprefix('Async')} as {name}"
    return name


def annotation(node: ast.expr | None, name: str) -> str:
    written = "None" if node is None else ast.unparse(node)
    alias = {"EventQueue": "EventCallback", "Storage": "StorageCallback"}.get(name)
    if alias is not None:
        written = re.sub(r"\bCallback\b", ANNOTATIONS[alias], written)
    for each in ("Source", "Unsubscribe", "Unwatch"):
        written = re.sub(rf"\b{each}\b", ANNOTATIONS[each], written)
    return written


def arguments(module: Module, function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    """The parameters, written out; constants of the module as what they are."""
    args = function.args
    for each in [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]:
        if each.annotation is not None:
            written = annotation(each.annotation, name)
            if written == "str | Driver" or written == "str | Driver | None":
                written = written.replace("Driver", "AsyncDriver")
            each.annotation = ast.parse(written, mode="eval").body
    for defaults in (args.defaults, args.kw_defaults):
        for at, default in enumerate(defaults):
            if isinstance(default, ast.Name) and (value := module.constant(default.id)) is not None:
                defaults[at] = value
    return ast.unparse(args)


def passed(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> str:
    """The same arguments, as they are passed on."""

    def one(argument: str) -> str:
        wrap = WRAPPED.get((name, function.name, argument))
        return f"{wrap}({argument})" if wrap else argument

    args = function.args
    parts = [one(each.arg) for each in [*args.posonlyargs, *args.args] if each.arg != "self"]
    if args.vararg is not None:
        parts.append(f"*{args.vararg.arg}")
    parts += [f"{each.arg}={one(each.arg)}" for each in args.kwonlyargs]
    if args.kwarg is not None:
        parts.append(f"**{args.kwarg.arg}")
    return ", ".join(parts)


def docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    text = DOCSTRINGS.get(node.name) or ast.get_docstring(node)
    if text is None:
        return ""
    return f'"""{prose(text)}{chr(10) if chr(10) in text else ""}"""\n'


def indented(text: str, depth: int = 1) -> str:
    return "\n".join("    " * depth + line if line else line for line in text.splitlines())


def decorators(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {ast.unparse(each) for each in function.decorator_list}


def method(module: Module, name: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """A method of a face."""
    args = arguments(module, function, name)
    called = f"self._inner.{function.name}"
    handed = passed(function, name)
    comma = ", " if handed else ""
    returns = annotation(function.returns, name)
    is_async = isinstance(function, ast.AsyncFunctionDef)
    public = {"__aenter__": "__enter__", "__aexit__": "__exit__"}.get(function.name, function.name)
    marks = decorators(function)
    if "overload" in marks:
        return f"@overload\ndef {public}({args}) -> {returns}: ..."
    if (match := re.fullmatch(r"Async(?:Iterator|Generator)\[(.*?)(?:, None)?\]", returns)) is not None:
        returns = f"Generator[{match[1]}, None, None]"
        body = f"return self._iterate({called}({handed}))"
    elif returns.startswith("Listing["):
        body = f"return Listing(self._portal, {called}({handed}))"
    elif returns == "Callable[[], None]":
        body = f"return self._ending({called}{comma}{handed})"
    elif returns == "asyncio.Event":
        returns, body = "Signal", f"return Signal(self._portal, {called})"
    elif returns == "Self":
        body = f"self._call({called})\nreturn self"
    elif returns == "dict[str, Driver]":
        body = f"return {{at: Driver(self._portal, driver) for at, driver in {called}({handed}).items()}}"
    elif (made := MAKES.fullmatch(returns)) is not None and made["name"] in SYNC:
        found = f"{called}({handed})"
        if function.name == "claim":
            found = f"self._take(give_back, {called}{comma}{handed})"
        elif is_async:
            found = f"self._call({called}{comma}{handed})"
        elif "property" in marks:
            found = called
        body = f"return {made['name']}(self._portal, {found})"
        if made["list"]:
            body = f"return [{made['name']}(self._portal, each) for each in {found}]"
    elif is_async:
        if public == "__enter__":
            undo = "lambda _: self._inner.__aexit__(InterruptedError, InterruptedError(), None)"
            body = f"return self._take({undo}, {called})"
        else:
            body = f"return self._call({called}{comma}{handed})"
            if returns == "None":
                body = body.removeprefix("return ")
    else:
        body = f"return {called}" + ("" if "property" in marks else f"({handed})")
    body = BODIES.get((name, function.name), body)
    head = "@property\n" if "property" in marks else ""
    return f"{head}def {public}({args}) -> {returns}:\n{indented(docstring(function) + body)}"


def attribute(name: str, kind: str, text: str) -> str:
    bare = kind.partition("[")[0]
    if bare in SYNC:
        return (
            f'@cached_property\ndef {name}(self) -> {kind}:\n    """{text}"""\n'
            f"    return {bare}(self._portal, self._inner.{name})"
        )
    return f'@property\ndef {name}(self) -> {kind}:\n    """{text}"""\n    return self._inner.{name}'


def methods(module: Module, name: str, within: ast.ClassDef) -> Iterator[str]:
    skipped = INTERNAL.get(name, set()) | INTERNAL_EVERYWHERE
    if name in ROOTS:
        skipped |= {"aclose", "__aenter__", "__aexit__"} - {of[1] for of in BODIES if of[0] == name}
    for node in within.body:
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            written = ast.unparse(node.annotation)
            yield attribute(ast.unparse(node.target), written, f"{SHOWN.get(written, 'What this driver can do')}.")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name in skipped:
            continue
        if node.name.startswith("_") and node.name not in ("__aenter__", "__aexit__"):
            continue
        if name == "Driver" and node.name in ("__aenter__", "__aexit__"):
            continue
        if node.name == "with_state":
            if "overload" in decorators(node):
                continue
            node.args.args[1].annotation = ast.parse("Callable[[T], R]", mode="eval").body
            node.returns = ast.Name("R")
        if name in ("Job", "Claim", "EventQueue", "Upkeep") and node.name == "__aenter__":
            node.returns = ast.Name("Self")
        yield method(module, name, node)


SHOWN = {
    "ApprovalStore": "Approvals",
    "BlobStore": "Bytes of any length",
    "CheckpointStore": "Checkpoints of threads",
    "ContainerRepository": "AgentX's containers",
    "FeedbackStore": "Feedback on threads and their messages",
    "ImageRepository": "AgentX's images",
    "SessionRepository": "Sessions with their messages",
    "ThreadStore": "Threads with their messages",
}


def face(module: Module, name: str, output: Output) -> str:
    """A class."""
    found = module.class_of(name)
    generic = next((ast.unparse(base) for base in found.bases if ast.unparse(base).startswith("Generic")), None)
    of = "" if generic is None else generic.removeprefix("Generic")
    output.variables |= set(re.findall(r"\w+", of))
    base = f"{'Root' if name in ROOTS else 'Face'}[Async{name}{of}]"
    parts = [attribute(each, *what) for each, what in ATTRIBUTES.get(name, {}).items()]
    if name in BASES:
        path, parent = BASES[name]
        above = Module(path)
        parts += methods(above, name, above.class_of(parent))
    parts += methods(module, name, found)
    bases = ", ".join(filter(None, (base, generic)))
    body = "\n\n".join(parts)
    output.variables |= {"R"} & set(re.findall(r"\bR\b", body)) | {"V"} & set(re.findall(r"\bV\b", body))
    return f"class {name}({bases}):\n{indented(docstring(found))}\n\n{indented(body)}"


def opener(module: Module, name: str, from_: str) -> str:
    """A function that opens something."""
    function = module.function(name)
    args = arguments(module, function, name)
    handed = passed(function, name)
    returns = re.sub(r"Opening\[(\w+)\]", r"\1", ast.unparse(function.returns or ast.Constant(None)))
    if name.startswith("create"):
        body = f"return opened(partial({returns}, is_root=True), {from_}.{name}({handed}))"
    else:
        body = f"return {returns}.of({from_}.{name}({handed}))"
    if "driver" in args:  # no traceback with its variables shows the password
        body = f"driver = hidden_url(driver)\n{body}"
    return f"def {name}({args}) -> {returns}:\n{indented(docstring(function) + body)}"


def generated() -> dict[Path, str]:
    """Each file and what belongs into it, as it is before formatting."""
    sys.path.insert(0, str(CORE.parent))
    found: dict[Path, str] = {}
    for file, (title, sources) in FAMILIES.items():
        output = Output(title)
        for path, names in sources.items():
            module = Module(path)
            for name in names:
                output.defined.append(name)
                output.parts.append(face(module, name, output))
        found[TARGET / f"{file}.py"] = output.text()
    output = Output("The functions that open a database")
    for path, names in FUNCTIONS.items():
        for name in names:
            output.defined.append(name)
            output.parts.append(opener(Module(path), name, {"events.py": "events"}.get(path, "limpet")))
    text = output.text().replace(
        "\n__all__", "\nimport limpet\nfrom limpet import events\n\nfrom .._secrets import hidden_url\n\n__all__", 1
    )
    found[TARGET / "_create.py"] = text
    found[TARGET / "_state.py"] = stateful_agent()
    return found


def stateful_agent() -> str:
    """`StatefulAgent` is code of its own, written with the public methods of a persistence: the same without `await`."""
    module = Module("state.py")
    lines = (CORE / "state.py").read_text(encoding="utf-8").splitlines()
    output = Output("Agents whose state outlives the process", module)
    output.defined, output.variables = ["StatefulAgent"], {"R", "T"}
    for node in module.tree.body:
        named = getattr(node, "name", None) or (ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else None)
        if named not in ("StatefulAgent", "_argument", "_WORDS"):
            continue
        left_out: set[int] = set()
        for each in getattr(node, "body", []):
            if isinstance(each, ast.AsyncFunctionDef) and "overload" in decorators(each):
                left_out |= set(range(each.lineno - 1, (each.end_lineno or 0) + 1))
        kept = [
            line
            for at, line in enumerate(lines, 1)
            if node.lineno <= at <= (node.end_lineno or 0) and at not in left_out
        ]
        text = prose("\n".join(kept)).replace("async def", "def")
        output.parts.append(text.replace("change: Callable[[T], Any]) -> Any", "change: Callable[[T], R]) -> R"))
    return output.text()


def formatted(text: str, name: str) -> str:
    """As the project's linter wants it."""
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix", "--quiet", "--exit-zero"], ["format", "--quiet"]):
        at = ["--stdin-filename", str(TARGET / name), "-"]
        done = subprocess.run([*ruff, *command, *at], input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text


if __name__ == "__main__":
    for file, text in generated().items():
        file.write_text(formatted(text, file.name), encoding="utf-8")
