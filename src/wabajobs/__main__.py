"""`python -m wabajobs`: the same as the command `wabajobs`."""

from wabajobs.cli import main

main()
