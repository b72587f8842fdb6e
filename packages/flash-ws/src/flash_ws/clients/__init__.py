"""The pages that are connected: the hub that knows them, their groups, and who receives a push.

Opened links and published messages come in; frames for the recipients' links go out.
`flash_ws.live`, `endpoints` (groups) and flash-pubsub (which implements `Backplane`) may call it.
"""
