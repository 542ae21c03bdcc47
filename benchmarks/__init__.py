"""Limpet beside its peers and the raw client, in one run on one machine: `nox -s bench`."""
