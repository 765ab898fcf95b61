"""``python -m caas``."""

from caas.cli import main

if __name__ == "__main__":
    main()
