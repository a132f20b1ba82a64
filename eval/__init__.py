"""Datasets, measures, significance."""
