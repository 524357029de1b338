"""A plugin for pytest: writes what became of each test, one a line, for `cargo xtask`.

The environment's LIGHTNING_RESULTS names the file. A line is `passed` or `failed`, the
test, and what a failed one says, with tabs between; the last line is `done`. A test that
was skipped has no line.
"""

import os


class Results:
    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.failed = {}
        self.passed = set()

    def pytest_runtest_logreport(self, report):
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = crash.message if crash else str(report.longrepr)
            self.failed.setdefault(report.nodeid, " ".join(text.split())[:200])
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_sessionfinish(self):
        for test in sorted(self.passed - self.failed.keys()):
            print("passed", test, sep="\t", file=self.file)
        for test, said in sorted(self.failed.items()):
            print("failed", test, said, sep="\t", file=self.file)
        print("done", file=self.file)
        self.file.close()


def pytest_configure(config):
    config.pluginmanager.register(Results(os.environ["LIGHTNING_RESULTS"]))
