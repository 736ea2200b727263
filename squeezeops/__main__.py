"""``python -m squeezeops``: the command line of :mod:`squeezeops.cli`."""

import sys

from squeezeops.cli import main

if __name__ == "__main__":
    sys.exit(main())
