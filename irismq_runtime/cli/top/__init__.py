"""`irismq top`: the observer's snapshots in a terminal.

`rows` decides what is shown, `plain` prints it once, `screen` (the one place that
imports Textual) shows it and takes keys, `command` brings nodes and screen together.
"""
