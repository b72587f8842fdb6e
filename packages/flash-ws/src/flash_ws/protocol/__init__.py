"""The live link's protocol without an event loop: frames, positions, history, outbox and limits.

Values and JSON text come in; frames, positions and decisions go out.
All rooms of flash-ws and flash-pubsub may call it; a test forbids event-loop imports here.
"""
