"""One loop, and the stages before the head."""
