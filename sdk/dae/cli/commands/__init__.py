"""The verbs, by noun. A module is imported when one of its verbs is asked for."""
