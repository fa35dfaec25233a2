"""`python -m ikestream`."""

import sys

from ikestream.cli import main

if __name__ == "__main__":
    sys.exit(main())
