"""Settings, keys, training, and questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from .widgets import button, option_grid, run


def build() -> None:
    """Add the dialogs to the page; each opens by its state variable."""
    with _dialog("show_settings", "Server and settings", 560):
        _settings()
    with _dialog("show_help", "Keys", 620), html.Div(classes="keys"):
        with html.Div(v_for=("s in shortcuts",), key="s.key", classes="key-row"):
            html.Kbd("{{ s.shown }}")
            html.Span("{{ s.text }}")
        html.P(
            "In the views: wheel scrolls slices, right button zooms, middle button pans, Shift moves all views "
            "to the pointer. Shift and wheel change the brush.",
            classes="dim wide",
        )
    with _dialog("show_train", "Training", 520):
        _training()
    with v3.VDialog(model_value=("!!question",), persistent=True, max_width=520), html.Div(classes="dialog"):
        html.P("{{ question?.text }}")
        with (
            html.Div(classes="dialog-actions"),
            html.Button(
                v_for=("a in (question?.answers || [])",),
                key="a.key",
                classes="tool-button with-text",
                click=run("answer", "a.key"),
                raw_attrs=[':data-answer="a.key"'],
            ),
        ):
            html.Span("{{ a.text }}")


@contextmanager
def _dialog(name: str, title: str, width: int) -> Iterator[None]:
    with v3.VDialog(v_model=(name,), max_width=width), html.Div(classes="dialog"):
        with html.Div(classes="row"):
            html.H3(title, classes="grow")
            button("toggle", "mdi-close", "Close (Esc)", args=[name])
        yield


def _settings() -> None:
    with html.Label(classes="field"):
        html.Span("Server")
        html.Input(
            v_model=("server_url",), type="text", raw_attrs=['list="known-servers"', 'data-test="server"']
        )
    with html.Datalist(id="known-servers"):
        html.Option(v_for=("s in servers",), key="s", value=("s",))
    with html.Label(classes="field", title="Only if the server asks for one; it is not stored"):
        html.Span("Token")
        html.Input(v_model=("token",), type="password", raw_attrs=['autocomplete="off"'])
    with html.Label(classes="field", title="Kept with each label that you submit"):
        html.Span("Annotator")
        html.Input(v_model=("client_id",), type="text")
    for name, text in (
        ("segment_on_open", "Segment a scan without a label when it opens"),
        ("load_sequences", "Open the other scans of the visit too"),
        ("refine_at_once", "Each click refines at once"),
    ):
        with html.Label(classes="check"):
            html.Input(v_model=(name,), type="checkbox")
            html.Span(text)
    html.Div("{{ ui.status }}", classes="status")
    with html.Div(classes="dialog-actions"):
        button(
            "test_connection",
            "mdi-lan-pending",
            "Test the connection; settings do not change",
            text="Test connection",
        )
        button("save_settings", "mdi-content-save-outline", "Save these settings", text="Save")
        button("connect", "mdi-lan-connect", "Use this server", text="Connect", classes="main")


def _training() -> None:
    html.P(
        "The model learns on the server from the masks that were submitted. You can go on annotating; the new "
        "version is used only if it is no worse."
    )
    with html.Div(v_if=("ui.training.running || ui.training.state",), classes="training"):
        html.Div(
            "{{ ui.training.state.toLowerCase() }}, epoch {{ ui.training.epoch }} of {{ ui.training.epochs }}"
        )
        html.Div("best Dice {{ ui.training.best }}", v_if=("ui.training.best",))
        v3.VProgressLinear(
            model_value=("100 * ui.training.epoch / Math.max(ui.training.epochs, 1)",),
            color="primary",
            height=4,
        )
        html.Div("{{ ui.training.message }}", classes="log")
    _training_options()
    with html.Div(classes="dialog-actions"):
        button("stop_training", "mdi-stop", "Stop; starting again resumes it", text="Stop")
        button("train", "mdi-school-outline", "Start fine-tuning", text="Start training", classes="main")


def _training_options() -> None:
    """Lay out the options of the server's train task; most users never open them."""
    with html.Details(v_if=("train_options.length",), classes="options", raw_attrs=['data-test="options"']):
        html.Summary("Options")
        option_grid("train", "flushState('train_values')")
