"""A strategy that runs cells in their order until one is good enough."""

from sweeps.sweep.strategy import Outline, Plan


class UntilGood:
    def __init__(self, cells, target):
        self.outline = Outline(cells, total=len(cells))
        self._target = target
        self._todo, self._known = [], []

    def open(self, preflight):
        for cell in self.outline.samples:
            if cell.load() is None or cell.standing != "done":
                self._todo.append(cell)
            else:
                self._known.append(cell)
        self._stop_if_good()
        return Plan(f"at most {self.outline.total} runs", self._known, self.outline.total)

    def ask(self):
        if not self._todo:
            return None
        self._known.append(self._todo.pop(0))
        return self._known[-1]

    def report(self, cell, report):
        return "stop" if report.value >= self._target else "continue"

    def tell(self, cell):
        return "good enough" if self._stop_if_good() else ""

    def _stop_if_good(self):
        values = [cell.record.objective_value for cell in self._known if cell.record]
        if any(value is not None and value >= self._target for value in values):
            self._todo.clear()
            return True
        return False
