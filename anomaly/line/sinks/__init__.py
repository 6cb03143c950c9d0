"""Where verdicts go: one file per kind of sink. A sink delivers one message at a time, or says why it cannot now."""
