"""`irismq doctor`: facts of the servers and of this machine, judged in one line each.

`machine` and `judgement` are imported where ours cannot be; nothing is imported here.
"""
