"""The app on its developer's machine: its environment, its requirements, its server. Nothing here needs a platform
that runs, but for fetching what is not installed yet."""
