"""Allocation candidates: `request` says what is asked, `search` finds it in the picture, `render` writes it.

All of it is pure: records and columns in, records or bytes out, no database and no request.
"""
