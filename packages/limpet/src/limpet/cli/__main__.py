"""`python -m limpet.cli`."""

from . import main

main()
