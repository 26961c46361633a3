"""A run's media: images, audio, text, distributions and the rest.

`page` says what the page shows, `compare` puts images of several runs side by side, `api` gives the
bytes out. `words` are those of the address, `types` tells what bytes are, `charts` draws
distributions, `cache` keeps contents for a while.
"""
