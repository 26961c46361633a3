"""TensorBoard below `/tensorboard/`, as a process of the viewer's.

`boards` answers requests, `eventlinks` is the log directory the process is given, `board` the
process and `boardprocess` what runs in it.
"""
