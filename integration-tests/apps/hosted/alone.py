"""The app without a host."""

import board

app = board.make()
