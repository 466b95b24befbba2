"""The screen of `irismq top`. The one module that imports Textual.

Shows what `rows` says of the latest snapshot, and turns keys into changes of the
`View`; decides nothing itself. The selected row stays selected while rows come,
go and move. Everything here runs on the loop that runs the node.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.coordinate import Coordinate
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Input, Sparkline, Static

from irismq_runtime.cli.top.charts import CHARTS
from irismq_runtime.cli.top.layout import layout, line
from irismq_runtime.cli.top.numbers import one_line
from irismq_runtime.cli.top.rows import Restart, Row, View, headline, problem_rows, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from irismq_runtime.observer import Point, Snapshot

__all__ = ["Source", "Top"]

_TONES: Final = {
    "plain": "",
    "good": "bold green",
    "warning": "yellow",
    "bad": "bold red",
    "faint": "dim",
}
#: Lines of what is wrong, at most.
_MOST_PROBLEMS: Final = 4
#: Rows that are made and shown at a time.
_MOST_ROWS: Final = 300
#: Lines of a screen on which the charts have three each.
_TALL: Final = 32
#: Points of the charts: a minute.
_POINTS: Final = 120


class Source(Protocol):
    """Where snapshots come from; `observer.Gatherer` is one."""

    @property
    def latest(self) -> Snapshot:
        """The latest one, of version 0 before the first."""
        ...

    @property
    def history(self) -> Sequence[Point]:
        """The points so far, oldest first."""
        ...

    async def changed(self, version: int) -> Snapshot:
        """Wait for one that is newer than `version`."""
        ...

    async def restart(self, node_id: str, supervisor: str, child: str) -> None:
        """Have a node restart a child of one of its supervisors. Raises what an ask raises."""
        ...


class Detail(ModalScreen[None]):
    """All that is known of one row; any of its keys closes it."""

    CSS = """
    Detail { align: center middle; }
    Detail VerticalScroll {
        width: 90%; height: auto; max-height: 90%;
        border: round $accent; padding: 0 1; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[Any]] = [Binding("escape,i,q,enter", "dismiss", "close")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """One text, which may be scrolled."""
        with VerticalScroll():
            yield Static(Text(self._text))


class Question(ModalScreen[bool]):
    """Asks something; only `y` is a yes."""

    CSS = """
    Question { align: center middle; }
    Question Static {
        width: auto; max-width: 90%; height: auto;
        border: round $warning; padding: 0 1; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q,enter", "answer(False)", "no"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Compose the question and its two keys, in one line."""
        yield Static(Text(f"{self._text}  y/n"))

    def action_answer(self, answer: bool) -> None:
        """Close the question; its answer goes to whoever asked."""
        self.dismiss(answer)


class Top(App[None]):
    """Trees, services and what is wrong, as the snapshots come."""

    CSS = """
    #headline { height: 1; background: $panel; padding: 0 1; }
    #problems { height: auto; max-height: 4; padding: 0 1; }
    #charts { height: 2; }
    .tall #charts { height: 4; }
    #charts Vertical { width: 1fr; padding: 0 1; }
    #charts Static { height: 1; color: $text-muted; }
    #charts Sparkline { height: 1; }
    .tall #charts Sparkline { height: 3; }
    #columns { height: 1; text-style: bold; background: $boost; }
    DataTable { height: 1fr; }
    #filter { height: 3; display: none; }
    #filter.shown { display: block; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Any]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("t", "turn", "turn"),
        Binding("s", "sort", "sort"),
        Binding("slash", "filter", "filter"),
        Binding("space", "fold", "fold"),
        Binding("e", "every", "all"),
        Binding("i", "detail", "info"),
        Binding("r", "restart", "restart"),
        Binding("p", "pause", "pause"),
        Binding("right_square_bracket", "move(1)", "more", show=False),
        Binding("left_square_bracket", "move(-1)", "back", show=False),
        Binding("escape", "unfilter", "no filter", show=False),
    ]

    def __init__(self, source: Source, view: View | None = None) -> None:
        super().__init__()
        self._source = source
        self._view = replace(view or View(), most=_MOST_ROWS)
        self._rows: list[Row] = []
        self._paused = False
        self._stands = False
        self._snapshot = source.latest

    def compose(self) -> ComposeResult:
        """Compose the screen: headline, problems, charts, table, filter."""
        yield Static(id="headline")
        yield Static(id="problems")
        with Horizontal(id="charts"):
            for _ in CHARTS:
                with Vertical():
                    yield Static()
                    yield Sparkline([])
        yield Static(id="columns")
        yield DataTable[Text](cursor_type="row", show_header=False, cell_padding=0)
        yield Input(placeholder="part of a name, class, address or state", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to follow the snapshots, in a task of the screen."""
        self._table.add_column("line")
        self._table.focus()
        self._stands = True
        self._show()
        self.run_worker(self._follow())

    async def _follow(self) -> None:
        version = 0
        while True:
            snapshot = await self._source.changed(version)
            version = snapshot.version
            if not self._paused:
                self._snapshot = snapshot
                self._show()

    def on_resize(self) -> None:
        """Fit the lines to the width, and the charts to the height, once both are known."""
        self.call_later(self._fit)

    def _fit(self) -> None:
        self._below.set_class(self.size.height >= _TALL, "tall")
        if self._stands:
            self._show()

    @property
    def shown(self) -> Snapshot:
        """What is on the screen."""
        return self._snapshot

    # Showing --------------------------------------------------------------------

    @property
    def _below(self) -> Screen[Any]:
        """The screen itself, also while details are shown above it."""
        return self.screen_stack[0]

    @property
    def _table(self) -> DataTable[Text]:
        return self._below.query_one(DataTable)

    def _show(self) -> None:
        """Everything, from the snapshot and the view."""
        if not self.is_running:  # it closes, and its widgets are gone before its tasks are
            return
        paused = "  (paused)" if self._paused else ""
        words = f"  only {self._view.words!r}" if self._view.words else ""
        self._below.query_one("#headline", Static).update(
            Text(f"irismq top  {headline(self._snapshot)}{words}{paused}")
        )
        self._below.query_one("#problems", Static).update(self._problems())
        self._draw_charts()
        columns = layout(self._view.page, max(40, self.size.width - 2))
        self._below.query_one("#columns", Static).update(Text(line(self._view.columns, columns)))
        found = rows(self._snapshot, self._view)
        lines = [Text(line(row.cells, columns), style=_TONES[row.tone]) for row in found]
        self._fill(found, lines)

    def _problems(self) -> Text:
        found = problem_rows(self._snapshot, _MOST_PROBLEMS)
        if not found:
            quiet = "nothing is wrong" if self._snapshot.version else "looking around..."
            return Text(quiet, style="dim")
        room = max(20, self.size.width - 12)
        lines = [
            Text(f"{row.cells[0][:room]:<{room}} {row.cells[1]}", style=_TONES[row.tone])
            for row in found
        ]
        return Text("\n").join(lines)

    def _draw_charts(self) -> None:
        history = self._source.history
        for chart, place in zip(CHARTS, self._below.query("#charts Vertical"), strict=True):
            place.query_one(Static).update(Text(chart.label(history)))
            place.query_one(Sparkline).data = chart.series(history, _POINTS)

    def _fill(self, found: list[Row], lines: list[Text]) -> None:
        """Put the lines into the table; the selected row stays so, wherever it goes."""
        table = self._table
        if [row.key for row in found] == [row.key for row in self._rows] and table.row_count:
            for index, text in enumerate(lines):
                before = table.get_cell_at(Coordinate(index, 0))
                if before != text or before.style != text.style:  # == is blind to the style
                    table.update_cell_at(Coordinate(index, 0), text, update_width=True)
            self._rows = found
            return
        selected = self._selected
        at = table.cursor_row
        self._rows = found
        table.clear()
        table.add_rows([text] for text in lines)
        keys = [row.key for row in found]
        if selected is not None and selected.key in keys:
            at = keys.index(selected.key)
        if keys:
            table.move_cursor(row=min(at, len(keys) - 1), animate=False)

    @property
    def _selected(self) -> Row | None:
        at = self._table.cursor_row
        return self._rows[at] if 0 <= at < len(self._rows) else None

    # Keys -----------------------------------------------------------------------

    def _wish(self, view: View) -> None:
        self._view = view
        self._show()

    def action_turn(self) -> None:
        """Key t: show trees instead of services, or the other way."""
        self._wish(self._view.turned("services" if self._view.page == "trees" else "trees"))

    def action_sort(self) -> None:
        """Key s: sort by the next column that can be sorted by."""
        self._wish(self._view.sorted_by_next())

    def action_move(self, parts: int) -> None:
        """Keys ] and [: show the next part of many rows, or the one before."""
        if parts < 0 or (self._rows and self._rows[-1].key == "below"):
            self._wish(self._view.moved(parts))

    def action_fold(self) -> None:
        """Open or close what is selected."""
        row = self._selected
        if row is not None and row.opens:
            self._wish(self._view.toggled(row.key))

    def action_every(self) -> None:
        """Close everything; or open everything, when anything is closed."""
        closed = () if self._view.closed else (row.key for row in self._rows if row.opens)
        self._wish(self._view.closing(closed))

    def action_detail(self) -> None:
        """Show all that is known of what is selected."""
        row = self._selected
        if row is not None and row.detail:
            self.push_screen(Detail(row.detail))

    def action_restart(self) -> None:
        """Ask, and have what is selected restarted."""
        row = self._selected
        if row is None or row.restart is None:
            self.notify("this has no supervisor that could restart it", severity="warning")
            return
        wanted = row.restart
        question = Question(f"restart {one_line(wanted.child, 40)} on {wanted.node}?")

        def answered(answer: bool | None) -> None:
            if answer:
                self.run_worker(self._restart(wanted))

        self.push_screen(question, answered)

    async def _restart(self, wanted: Restart) -> None:
        child = one_line(wanted.child, 40)
        try:
            await self._source.restart(*wanted)
        except Exception as error:  # what a node answers, or that it does not
            self.notify(
                f"{child} is not restarted: {one_line(str(error))}", severity="error", markup=False
            )
        else:
            self.notify(f"{child} is being restarted", markup=False)

    def action_pause(self) -> None:
        """Stop, or go on with the latest."""
        self._paused = not self._paused
        if not self._paused:
            self._snapshot = self._source.latest
        self._show()

    def action_filter(self) -> None:
        """Key /: open the line in which the filter is typed."""
        box = self._below.query_one("#filter", Input)
        box.add_class("shown")
        box.focus()

    def action_unfilter(self) -> None:
        """Escape: end the filter, and show all rows."""
        self._below.query_one("#filter", Input).value = ""
        self._leave_filter()
        self._wish(self._view.filtered(""))

    def _leave_filter(self) -> None:
        self._below.query_one("#filter", Input).remove_class("shown")
        self._table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter at each key that the reader types."""
        self._wish(self._view.filtered(event.value))

    def on_input_submitted(self) -> None:
        """Keep the filter and go back to the rows."""
        self._leave_filter()

    def on_data_table_row_selected(self) -> None:
        """Enter: open or close; the details of what does neither."""
        row = self._selected
        if row is not None and row.opens:
            self.action_fold()
        else:
            self.action_detail()
