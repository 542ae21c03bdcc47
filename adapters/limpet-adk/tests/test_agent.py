"""An agent under ADK's runner, with a scripted model, restarted in the middle: the example."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "examples/frameworks/adk_agent.py"
SAID = """Done: {'ticket': 'ticket.txt, version 0'}
I have read 5 messages
{'goes_to': 'Trieste'}
one way to Trieste
['Please book a train']
"""


def test_the_example(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), f"sqlite:///{tmp_path.as_posix()}/a.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert (done.stdout, done.returncode) == (SAID, 0), done.stderr
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert again.stdout.splitlines()[:2] == ["Done: {'ticket': 'ticket.txt, version 1'}", "I have read 11 messages"]
