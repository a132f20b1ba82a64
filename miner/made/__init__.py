"""Hard negatives that a language model writes: passages for a query, queries for a document."""
