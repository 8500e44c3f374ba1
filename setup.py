"""The platform: one distribution that lives in its own virtual environment (the command and library are in sdk/)."""

from setuptools import find_packages, setup

PARTS = ["receiver", "buildpacks", "slugs", "runner", "router", "pypi_mirror", "hooks", "control", "console", "core"]

setup(
    name="dae-platform",
    version="0.1.0",
    description="DAE: a private Platform-as-a-Service for Python",
    python_requires=">=3.11",
    packages=find_packages(include=PARTS + [f"{part}.*" for part in PARTS]),
    # Why each of these: docs/decisions/0002-dependencies.md
    install_requires=[
        "dae[cli]",
        "alembic>=1.13",
        "backports.zstd>=1; python_version < '3.14'",  # Python's own from 3.14 on
        "cryptography>=42",
        "flask>=3.1",
        "gevent>=24.2",
        "gunicorn>=25.1",
        "installer>=0.7",
        "multipart>=2",
        "packaging>=26.1",  # reads pylock.toml
        "pip>=23",
        "pip-tools>=7.4",
        "poetry-core>=2",
        "PyYAML>=6",
        "setuptools>=65",
        "sqlalchemy>=2.0.30",
        "supervisor>=4.2.5",
        "urllib3>=2.7",
        "uv>=0.5",
        "virtualenv>=21",  # brings python-discovery
        "wheel>=0.43",
    ],
    extras_require={
        "dev": [
            "dulwich>=0.22",
            "hypothesis>=6.100",
            "import-linter>=2.16",
            "mypy>=1.11",
            "pytest>=8",
            "pytest-xdist>=3.6",  # a platform under test mostly waits: two files at a time take half
            "ruff>=0.6",
            "types-PyYAML",
        ]
    },
    entry_points={"dae.commands": ["platform = control.platform.cli:commands"]},
)
