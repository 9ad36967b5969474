"""``python -m llmwright.cli`` is the same as the ``llmwright`` command."""

from llmwright.cli.main import main

if __name__ == "__main__":
    main()
