"""`python -m pecmae` is the console command."""

from pecmae.cli import main

main()
