"""`python -m equimodal`, which is `equimodal`: for `torchrun -m`, and for where scripts are not on the path."""

import sys

from equimodal.cli import main

if __name__ == "__main__":
    sys.exit(main())
