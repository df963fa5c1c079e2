"""The rows of the paper's second table, how they are run, and what is written about them."""
