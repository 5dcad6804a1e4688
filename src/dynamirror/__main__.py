"""`python -m dynamirror` is `dynamirror`."""

from dynamirror.cli import main

if __name__ == "__main__":
    main()
