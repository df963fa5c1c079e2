"""`python -m pecmae.cli`."""

from pecmae.cli.app import main

if __name__ == "__main__":
    main()
