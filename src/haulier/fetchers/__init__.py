"""Impls ready to use."""
