"""Run files, history, log, locks and marks, on zborg's own machine."""
