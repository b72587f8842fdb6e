"""The app mounted in one of FastAPI."""

import board
from fastapi import FastAPI

api = FastAPI()


@api.get("/numbers")
def numbers():
    return [1, 2, 3]


api.mount("/dash", board.make())
