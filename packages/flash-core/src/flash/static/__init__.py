"""Static files served from memory: each is read once and compressed once, off the event loop.

In come a path and a request's headers; out comes a `StaticResponse`. Called by `flash.pages.views`
for bundles and assets.

`respond` makes a response from a file and headers and does no I/O. `StaticCache` reads files,
checks them for changes and compresses them in its own threads. `StaticTree` maps URL paths to the
files of a folder and refuses paths that leave it.

The order of compression follows from measurements on Dash's bundles (5.8 MB, of which plotly.js has
4.8 MB): zstd at level 3 takes 23 ms and sends 28 %, brotli at level 5 takes 120 ms and sends 25 %,
gzip at level 5 takes 106 ms and sends 29 %. So the first client that accepts zstd waits a few
milliseconds for it. Brotli, which is smaller, is made in the background when a file was sent often
enough; of a file up to 16 KiB at once and at its best, in 30 ms at most. Waiting is better than
sending the file uncompressed: below 300 Mbit/s, sending the 3.4 MB that zstd saves takes longer
than the compression.
"""

from flash.static.cache import StaticCache
from flash.static.disk import OversizedFile
from flash.static.file import StaticFile
from flash.static.response import StaticResponse, respond
from flash.static.tree import StaticTree

__all__ = [
    "OversizedFile",
    "StaticCache",
    "StaticFile",
    "StaticResponse",
    "StaticTree",
    "respond",
]
