"""Contenders that are called from Python. Each module has a class with `version` and
`open(data)`, which gives a function to call and one that gives the result, or None."""

import time


class PythonCall:
    def __init__(self, run, result):
        self.run, self.result = run, result

    def seconds(self, calls):
        run = self.run
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return time.perf_counter() - start

    def close(self):
        pass
