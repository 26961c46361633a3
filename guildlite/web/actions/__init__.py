"""What a page can change: start, stop, evaluate and prepare; labels, notes, marks and the trash.

`form` makes flags from what was typed, `launching` and `preparing` start processes as `gl` would,
`routes` are the addresses, all of which take only POST, but for the form itself.
"""
