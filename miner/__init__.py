"""Retrieve, filter, sample: from embeddings to negatives that explain themselves."""
