"""Runs a framework's own tests, from its released source archive, on an adapter of ours.

    python -m proof adapters/limpet-openai-agents            # on every database
    python -m proof adapters/limpet-openai-agents sqlite     # on one

`proof.toml` in the adapter's folder says which archive, which tests, and with which plug-in ours takes the place of theirs; the
lists in `proof/expected` name the tests that must pass. Nothing of the archive is kept in the repository.
"""
