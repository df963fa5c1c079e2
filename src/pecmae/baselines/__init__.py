"""The paper's other systems, which answer as PECMAE does or are measured as it is."""
