"""The only modules that touch private names of Dash, Quart and Flask.

Each private name stands beside the reason why it is needed and the versions that have it.
Every other module reaches them through the public names defined here.
"""
