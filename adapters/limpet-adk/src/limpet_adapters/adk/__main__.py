"""The `adk` command with Limpet's URIs: `python -m limpet_adapters.adk web --session_service_uri=limpet+sqlite:///agents.db`."""

from google.adk.cli import main

from ._services import register_services

if __name__ == "__main__":
    register_services()
    main(prog_name="adk")
