"""Engines: where the blocks of a run are computed, in this process or on the workers of Ray."""
