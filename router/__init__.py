"""The router: from routes to nginx's configuration (pure), and from files to a running nginx."""

from router.render import render

__all__ = ["render"]
