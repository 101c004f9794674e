"""A page in the browser on which a team reviews preference pairs, fills in sheets and watches searches.

``mctsdialog studio`` starts it. It needs the extra ``studio``: Starlette and uvicorn.
"""

from mctsdialog._public import publish as _publish
from mctsdialog.studio._app import studio_app
from mctsdialog.studio._chat import ChatDesk
from mctsdialog.studio._judge import Sheet
from mctsdialog.studio._review import ReviewDesk
from mctsdialog.studio._runs import Run
from mctsdialog.studio._sources import Sources

__all__ = ["ChatDesk", "ReviewDesk", "Run", "Sheet", "Sources", "studio_app"]

_publish(globals())
