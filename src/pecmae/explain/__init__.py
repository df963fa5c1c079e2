"""Reasons as pages and sound."""
