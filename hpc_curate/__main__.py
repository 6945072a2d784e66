"""`python -m hpc_curate` is `hpc-curate`."""

import sys

from hpc_curate.cli import main

if __name__ == "__main__":
    sys.exit(main())
