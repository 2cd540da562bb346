"""Entry point of `gradgate` and `python -m gradgate`: the environment first, then the libraries."""

from gradgate.environment import set_defaults


def main() -> None:
    """Run the command line."""
    set_defaults()
    from gradgate.cli import main as run

    run()


if __name__ == "__main__":
    main()
