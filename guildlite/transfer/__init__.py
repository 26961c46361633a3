"""Runs in and out: log directories of TensorBoard become runs, runs become files of others."""
