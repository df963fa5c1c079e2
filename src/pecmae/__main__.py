"""`python -m pecmae` is the console command."""

from pecmae.cli import main

if __name__ == "__main__":
    main()
