"""Print the agent, to install it by hand."""

import sys

from zborg.hosts.agent import script

sys.stdout.write(script())
