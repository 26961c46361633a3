"""The HTML pages: one URL each, complete without a script.

A page's whole state is in its address. While a shown run is running the page asks the browser to
load it again every few seconds (`live=0` pauses that), and stops when the run has ended. Handlers
run in worker threads.
"""
