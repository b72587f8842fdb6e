"""The app mounted in one of FastAPI, which starts and ends it."""

import board
from fastapi import FastAPI

app = board.make()
api = FastAPI(lifespan=app.lifespan)
api.mount("/dash", app)
