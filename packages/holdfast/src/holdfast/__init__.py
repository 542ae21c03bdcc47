"""Persistence for AI agents on whatever database you already run."""
