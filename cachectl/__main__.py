"""`python -m cachectl`, and what the console script calls."""

import gc
import sys


def main() -> None:
    """Run the command line and exit with its code.

    What imports make stays to the end: looking for garbage among it takes a quarter of a short command's
    time. So the collector rests until work begins (`Session`), and is not to look at the end.
    """
    gc.disable()
    try:
        from cachectl.cli.app import app

        app(prog_name="cachectl")
    except KeyboardInterrupt:  # while it is still being imported, nothing has begun
        sys.exit(130)
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
