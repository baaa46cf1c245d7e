"""``python -m dock`` is ``dock``."""

from dock.cli import main

if __name__ == "__main__":
    main()
