"""Running a Dash callback: compiled to a plan once, then bound, executed and answered per request.

In comes the JSON body of a callback request; out comes the serialised response.
Called by `flash.http`, by the Quart views and by Dash's own socket through `flash.seams`.
"""
