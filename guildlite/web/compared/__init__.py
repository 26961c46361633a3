"""Runs put side by side: which ones an address names, their columns, and a table of them.

`chosen` finds the runs of an address, by name or by a filter; `columns` says what can be compared
and gives the values; `table` makes tables for pages and files; `api` is all of it as JSON.
"""
