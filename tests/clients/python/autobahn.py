"""The WebSocket cases of the Autobahn test suite against a server, run by kosoku. Usage: autobahn.py URL CASES…, where `1.*` is a group.

Prints how each case ended: its number, the verdict on the messages, and the one on the close. NON-STRICT is OK: some cases end so if the fault is
noticed before what was sent ahead of it has come back.
"""
import asyncio
import os
import sys

import kosoku


async def run(url, cases):
    try:
        return await kosoku.run_fuzzingclient(url, cases, None, concurrency=8)
    except kosoku.FailureError as failure:
        return failure.results


def word(verdict):
    return "OK" if verdict.value == "NON-STRICT" else verdict.value.replace(" ", "-")


results = asyncio.run(run(sys.argv[1], sys.argv[2:]))
for result in sorted(results, key=lambda result: result.case_index):
    print(result.case_id, word(result.behavior), word(result.behavior_close))
# kosoku's threads may abort a Python that takes itself apart.
sys.stdout.flush()
os._exit(0)
