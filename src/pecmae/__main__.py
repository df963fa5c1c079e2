"""`python -m pecmae` is the console command."""

from pecmae.cli.app import main

if __name__ == "__main__":
    main()
