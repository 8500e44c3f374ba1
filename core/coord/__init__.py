"""Coordination: the interface, and the embedded implementation on the state store."""

from core.coord.embedded import EmbeddedCoord
from core.coord.interface import Change, Coord, Entry, Holder, Lock, Session, Watch

__all__ = ["Change", "Coord", "EmbeddedCoord", "Entry", "Holder", "Lock", "Session", "Watch"]
