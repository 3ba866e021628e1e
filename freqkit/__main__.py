"""`python -m freqkit` is the command line."""

from freqkit.cli import main

if __name__ == "__main__":
    main()
