"""Files that nobody should have to trust: damaged and crafted audio, models and tables, and a process that survives them."""
