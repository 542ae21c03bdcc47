"""Naylence's storage on Limpet, found through entry points: `FAME_STORAGE_PROFILE=limpet LIMPET_URL=postgresql://...`."""

from ._agent import LimpetAgent
from ._provider import LimpetStorageProvider, LimpetStorageProviderFactory, register_profile

__all__ = ["LimpetAgent", "LimpetStorageProvider", "LimpetStorageProviderFactory", "register_profile"]
