"""What other programs are shown: a public status page in two vendors' forms, and metrics for Prometheus.

The Hub's own feed of events is something else: `wabajobs.feed`.
"""

from wabajobs.exposed.bulletin import Bulletin, Editor
from wabajobs.exposed.drafts import Draft, draft
from wabajobs.exposed.view import Looker, View

__all__ = ["Bulletin", "Draft", "Editor", "Looker", "View", "draft"]
