"""The only modules that use private names of Dash, Quart and Flask, and give them public names.

A comment beside each private name says why it is needed and which versions have it.
Every other module of the four packages uses the public names defined here.
"""
