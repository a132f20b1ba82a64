"""Hard-negative mining for dense retrieval."""
