"""The control room: a page for operators inside Flower, in its navigation, its layout and its authentication.

Flower is left as it is. Its tables of handlers and settings get a few entries more (`installing`), two of its
templates get a few lines more (`overlay`). Everybody who looks is shown the same look, taken at most once a
second (`snapshot`, `looking`); what somebody decides goes the way of every decision (`actions`).
"""

from wabajobs.page.installing import install

__all__ = ["install"]
