"""Layers and the manifests over them."""

from slugs.store import SlugStore

__all__ = ["SlugStore"]
