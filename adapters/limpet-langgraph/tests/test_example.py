"""The example program remembers across its processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[3] / "examples/frameworks/langgraph_agent.py"


def test_the_example_continues_a_conversation_and_remembers_in_another(tmp_path: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'agent.db').as_posix()}"
    command = [sys.executable, "-W", "error", str(PROGRAM), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Hello, I like tea -> I know: Ada likes tea. This is turn 1.",
        "And I like cake -> I know: Ada likes cake; Ada likes tea. This is turn 2.",
        "What do I drink? -> I know: Ada likes cake; Ada likes tea. This is turn 1.",
    ]
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert again.stdout.splitlines()[0] == "Hello, I like tea -> I know: Ada likes cake; Ada likes tea. This is turn 1."
