"""Formats of training files: what a file is made of, and how rows stand in it."""
