"""`python -m cachectl`, and what the console script calls."""

from cachectl.cli.app import app


def main() -> None:
    """Run the command line and exit with its code."""
    app(prog_name="cachectl")


if __name__ == "__main__":
    main()
