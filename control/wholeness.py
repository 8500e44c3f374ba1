"""Layers that are not what they were made: found before anything starts from them, and made again."""

from __future__ import annotations

from control.build import build
from control.context import Context
from control.output import Output
from control.recording import Source
from core.errors import DaeError
from core.nouns import Slug


def require_whole(context: Context, app: str, slug: Slug, who: str, output: Output) -> bool:
    """Have the layers of ``slug`` as they were made; one that is damaged is built again from the same commit.

    Returns whether it was. What runs in a layer that is replaced goes on. Raises ``slug/damaged`` when the build gives
    another slug, or whatever keeps it from being built.
    """
    try:
        context.slugs.verify(slug, app)
        return False
    except DaeError as error:
        if error.code != "slug/damaged":
            raise
        output.warn(f"{error.cause}; building it again")
    again = build(context, Source(app, slug.commit, who, sharing=False), output)
    if again.digest != slug.digest:
        cause = f"slug {slug.digest[:12]} is damaged, and its commit now builds into another one, {again.digest[:12]}"
        raise DaeError("slug/damaged", cause, "push the commit again, and promote what is live in dev then")
    return True
