"""The router: routes as links that nginx resolves, and nginx's configuration: rendered, tested, put in force."""

from router.render import render

__all__ = ["render"]
