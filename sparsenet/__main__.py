"""`python -m sparsenet` is the command `sparsenet`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
