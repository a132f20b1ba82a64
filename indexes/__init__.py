"""Search: exact and approximate indexes, one total order of results."""
