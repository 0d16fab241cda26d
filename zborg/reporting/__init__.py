"""Reports as text, HTML, mail and metrics. Pure: nothing is read, printed or sent."""
