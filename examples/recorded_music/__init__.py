"""Freely licensed recorded and produced music from Debian's packages: what there is, and how it becomes a data set."""
