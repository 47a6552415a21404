"""`python -m pgproxy`."""

from pgproxy.cli import main

if __name__ == "__main__":
    main()
