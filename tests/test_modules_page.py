"""docs/inside/modules.md lists every module with the first line of its docstring. To write it: `python tests/test_modules_page.py`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/inside/modules.md"

INTRODUCTION = """\
# Modules

Every module with the first line of its docstring. Modules are private; the names that they share are public through the `__all__` of their
package. Every driver package has `_driver`, `_options`, `_client`, `_commands`, `_layout` and `_errors`; what only one of them needs has a name that says so.
A test keeps this page true, and `python tests/test_modules_page.py` writes it.
"""


def sources() -> list[Path]:
    """The source folders of every distribution, the core first, the suite last."""
    packages = sorted(ROOT.glob("packages/*/src/limpet*"), key=lambda found: (found.name != "limpet", str(found)))
    adapters = sorted(ROOT.glob("adapters/*/src/limpet*"))
    return [*packages, *adapters, ROOT / "conformance/src/limpet_conformance"]


def described(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring: say in a line what it is for"
    return docstring.splitlines()[0].rstrip(".")


def page() -> str:
    parts = [INTRODUCTION]
    for source in sources():
        here = source.relative_to(ROOT).as_posix()
        rows = [
            f"| `{module.relative_to(source).as_posix()}` | {described(module).replace('|', '/')} |"
            for module in sorted(source.rglob("*.py"))
            if not module.name.startswith("__")
        ]
        parts.append("\n".join([f"## {here}", "", "| module | |", "| --- | --- |", *rows, ""]))
    return "\n".join(parts)


def test_the_page_lists_every_module_as_it_describes_itself() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tests/test_modules_page.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
