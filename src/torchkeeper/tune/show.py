"""How far a run is: a bar with the time left on a terminal, lines where there is none."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.progress import Progress as Bars
from rich.progress import ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

from torchkeeper.tune.budget import Budget

#: Often enough for seconds, and seldom enough to cost what is measured nothing.
_REFRESHES = 2.0


def clock(seconds: float) -> str:
    """Minutes and seconds: 9:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


class _Time(ProgressColumn):
    """The time's own bar, and what is left of it."""

    def __init__(self, budget: Budget, *, bar: bool) -> None:
        super().__init__()
        self._budget, self._bar = budget, bar

    def render(self, task: Task) -> RenderableType:
        budget = self._budget
        if self._bar:
            return ProgressBar(total=budget.seconds, completed=budget.spent, width=30)
        return Text(f"{clock(budget.left)} left")


class Progress:
    """What is being done, and how long all of it will still take."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self._console = console
        self._bars: Bars | None = None
        if console.is_terminal:
            columns = (_Time(budget, bar=True), _Time(budget, bar=False), TextColumn("{task.description}"))
            self._bars = Bars(*columns, console=console, transient=True, refresh_per_second=_REFRESHES)
            self._task = self._bars.add_task("", total=None)

    def __enter__(self) -> Progress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, text: str) -> None:
        """This is being done now."""
        if self._bars is None:
            self._console.print(text, markup=False)
        else:
            self._bars.update(self._task, description=text.replace("[", r"\["))
