"""Monte-Carlo tree search over conversations."""

from mctsdialog.dialogue import Dialogue, Scenario, Turn
from mctsdialog.search import SearchConfig, search
