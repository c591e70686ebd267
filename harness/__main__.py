"""`python -m harness` is `bench run`: the Hydra application, as Hydra's own documentation calls one."""

import sys

from harness.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
