"""Losses, training sets and the sentence-transformers trainer."""
