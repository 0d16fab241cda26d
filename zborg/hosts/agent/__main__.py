"""Print the agent, for whoever installs it by hand."""

import sys

from zborg.hosts.agent import script

sys.stdout.write(script())
