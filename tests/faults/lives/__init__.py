"""What tests order of a cloud in which something dies: each `Life` has chapters, one operation each.

`prepare` makes what a chapter begins with, `<chapter>` orders it, `<chapter>_ends` says what must be after all is over,
wherever on the way a process was killed.
"""
