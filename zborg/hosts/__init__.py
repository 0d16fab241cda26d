"""Reaching other machines. The scripts that run on them lie beside this file."""

from pathlib import Path

SCRIPTS = Path(__file__).parent
