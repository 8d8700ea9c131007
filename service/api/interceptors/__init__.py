"""What every call goes through, one concern a file.

An interceptor wraps a method's handler once, when the server is built; per call it costs one more await. A stream's
messages do not pass through here at all.
"""
