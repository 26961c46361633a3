"""Runs put side by side: which ones an address names, their columns, and what differs between two.

`chosen` finds the runs of an address, by name or by a filter; `columns` says what can be compared of
them and gives the values; `files` writes a table for others; `api` is all of it as JSON.
"""
