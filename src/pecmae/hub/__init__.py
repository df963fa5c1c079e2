"""A name to a folder, a folder to a card."""
