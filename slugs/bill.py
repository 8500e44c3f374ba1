"""The software bill of materials of a slug: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), as plain data."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from core.nouns import Slug
from slugs.packages import Origin

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562, 6.6: names that are URLs


def of(app: str, slug: Slug, origins: Iterable[Origin]) -> dict[str, Any]:
    """The bill of ``slug``: the interpreter and the packages that its environment was made of (``origins``).

    It is the same whenever and wherever it is asked for: no time is in it, and its serial number is the slug's.
    """
    implementation, version = (*slug.interpreter.split("-"), "", "")[:2]
    runtime = {"type": "platform", "name": implementation, "version": version, "bom-ref": "runtime"}
    components = [_component(origin) for origin in sorted(origins, key=lambda origin: origin.name)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, slug.digest)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "dae", "version": slug.buildpack}]},
            "component": {
                "type": "application",
                "name": app,
                "version": slug.commit,
                "bom-ref": "app",
                "hashes": [{"alg": "SHA-256", "content": slug.digest}],
            },
        },
        "components": [runtime, *components],
        "dependencies": [{"ref": "app", "dependsOn": ["runtime", *(entry["bom-ref"] for entry in components)]}],
    }


def _component(origin: Origin) -> dict[str, Any]:
    """A package; its purl (https://github.com/package-url/purl-spec, type pypi) is that of its release, with
    its address when it does not come from an index."""
    purl = f"pkg:pypi/{quote(origin.name)}@{quote(origin.version)}"
    if origin.address:
        purl += f"?{'vcs' if origin.address.startswith('git+') else 'download'}_url={quote(origin.address, safe='')}"
    return {
        "type": "library",
        "name": origin.name,
        "version": origin.version,
        "bom-ref": purl,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": origin.sha256}],
        "properties": [{"name": "dae:file", "value": origin.filename}],
    }
