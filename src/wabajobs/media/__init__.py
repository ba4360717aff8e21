"""Files for Meta: where they come from and what is checked of them, all of it before the first call."""

from wabajobs.media.fetch import fetch
from wabajobs.media.rules import (
    HEADER_DOCUMENT,
    HEADER_IMAGE,
    HEADER_VIDEO,
    PROFILE_PHOTO,
    Fitted,
    Rules,
    fit,
    sniffed,
)
from wabajobs.media.source import MediaSource, obeying, sources_in

__all__ = [
    "HEADER_DOCUMENT",
    "HEADER_IMAGE",
    "HEADER_VIDEO",
    "PROFILE_PHOTO",
    "Fitted",
    "MediaSource",
    "Rules",
    "fetch",
    "fit",
    "obeying",
    "sniffed",
    "sources_in",
]
