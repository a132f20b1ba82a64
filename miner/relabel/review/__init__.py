"""Pairs that people read: which ones, the page that shows them, the answers in the store."""
