"""The verbs of the `pyrite` command: one function for each, no logic."""
