"""List of scans on the left, and the tools on the right."""

from __future__ import annotations

from StrokeLabelLib.session.editing import OPERATIONS
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from .widgets import button, option_grid, quoted, run, section, slider

STATUS_ICONS = {
    "new": "mdi-circle-outline",
    "pseudo-label": "mdi-circle-half-full",
    "rejected": "mdi-close-circle-outline",
    "submitted": "mdi-check-circle",
}
OPERATION_ICONS = {
    "smooth": "mdi-blur",
    "margin": "mdi-arrow-expand-all",
    "fill_holes": "mdi-circle-slice-8",
    "remove_small": "mdi-broom",
    "keep_largest": "mdi-numeric-1-circle-outline",
    "fill_between_slices": "mdi-layers-triple-outline",
    "limit_to_intensities": "mdi-contrast-circle",
    "clear": "mdi-delete-outline",
}


def cases() -> None:
    """Lay out the list of scans with status, search, next and upload."""
    with html.Div(classes="panel cases"):
        with html.Div(classes="row"):
            html.Input(v_model=("case_filter",), placeholder="Find a scan", classes="find", type="text")
            button("refresh", "mdi-refresh", "Refresh the list of scans")
        with (
            html.Div(classes="case-list"),
            html.Button(
                v_for=(
                    "row in cases.filter(r => (r.id + r.status).toLowerCase().includes(case_filter.toLowerCase()))",
                ),
                key=("row.id",),
                classes=("'case ' + row.status + (row.id === ui.open_image ? ' on' : '')",),
                click=run("open", "row.id"),
                title=("row.id + ': ' + row.status_text",),
                disabled=("!!ui.blocked.open",),
                raw_attrs=[':data-case="row.id"'],
            ),
        ):
            v3.VIcon(icon=(f"({STATUS_ICONS!r})[row.status] || 'mdi-circle-outline'",), size=16)
            with html.Span(classes="case-name"):
                html.Span("{{ row.title }}")
                html.Span("{{ row.detail }}", classes="dim")
        html.Div("No scans yet: drop one here.", classes="dim pad", v_if=("ui.connected && !cases.length",))
        with html.Div(classes="panel-end"):
            button(
                "next",
                "mdi-skip-next",
                "The scan that the server chooses (N)",
                text="Next scan",
                classes="wide",
            )
            _upload()


def _upload() -> None:
    with html.Div(classes="uploads"):
        for text, attributes in (
            ("NIfTI file", "accept='.nii,.gz,.nrrd,.mha'"),
            ("DICOM folder", "webkitdirectory"),
        ):
            with html.Label(
                classes="upload", title="Upload to the server; dropping it on the page does the same"
            ):
                v3.VIcon("mdi-upload-outline", size=16)
                html.Span(text)
                html.Div(
                    v_html=(
                        f"`<input type=file hidden {attributes} "
                        "onchange='strokelabelUpload(this.files); this.value=null'>`",
                    ),
                    classes="none",
                )


def work() -> None:
    """Lay out all work on a scan, from top to bottom in the usual order."""
    with html.Div(classes="panel work"):
        _segment()
        _tools()
        _clean_up()
        _overlays()
        v3.VSpacer()
        _read_out()
        _hand_in()


def _segment() -> None:
    button(
        "segment",
        "mdi-auto-fix",
        "Let the model find the lesion (G)",
        text="Segment",
        classes="big wide",
    )
    v3.VSelect(
        v_if=("ui.models.length > 1",),
        model_value=("ui.model",),
        update_modelValue=run("model", "$event"),
        items=("ui.models",),
        density="compact",
        hide_details=True,
        variant="outlined",
        classes="model",
        title="Model that Segment uses",
    )
    with html.Details(
        v_if=("segment_options.length",), classes="options", raw_attrs=['data-test="segment-options"']
    ):
        with html.Summary(title="How Segment finds the lesion; another threshold needs no new prediction"):
            html.Span("Options")
            html.Span("{{ ui.changed_options.join(', ') }}", classes="changed-options")
        option_grid("segment", run("option", "o.name", "segment_values[o.name]"))
    with html.Label(
        v_if=("ui.open_image && ui.stroke_stages.length",),
        classes="row stage",
        title="No scan tells the stage of its stroke: say it, then Segment; outcomes are estimated of acute ones alone",
    ):
        html.Span("Stage of the stroke", classes="label")
        with html.Select(
            change=run("stroke_stage", "$event.target.value"),
            raw_attrs=[':value="ui.stroke_stage"', 'data-test="stroke-stage"'],
        ):
            html.Option("{{ stage }}", v_for=("stage in ui.stroke_stages",), key=("stage",), value=("stage",))
    with html.Div(classes=("ui.blocked.threshold ? 'threshold off' : 'threshold'",)):
        with html.Div(
            classes="row",
            title=("ui.blocked.threshold || 'Probability from which a voxel is lesion; brush strokes stay'",),
        ):
            html.Span("Threshold", classes="label")
            html.Span("{{ Number(threshold).toFixed(2) }}", classes="value")
        slider(
            "threshold",
            0.02,
            0.98,
            0.02,
            tooltip="Lower finds more, higher finds less; what you painted stays",
            disabled=("!!ui.blocked.threshold",),
            update_modelValue=run("drag_threshold", "$event"),
            end=run("threshold", "$event"),
        )


def _tools() -> None:
    section("Correct")
    with html.Div(classes="tools"):
        for tool, icon, text, tip in (
            ("navigate", "mdi-cursor-default-outline", "Look", "View only: scroll, zoom, pan (V)"),
            ("paint", "mdi-brush", "Brush", "Paint lesion (P)"),
            ("erase", "mdi-eraser", "Eraser", "Erase lesion (E)"),
            ("scissors", "mdi-content-cut", "Scissors", "Cut away what you circle, through all slices (X)"),
            (
                "lesion",
                "mdi-plus-circle-outline",
                "Lesion",
                "Click on missed lesion; the model updates the mask (F)",
            ),
            (
                "not_lesion",
                "mdi-minus-circle-outline",
                "Not lesion",
                "Click on tissue that is not lesion; the model updates the mask (B)",
            ),
            (
                "add_region",
                "mdi-shape-plus",
                "Add",
                "Click to add the region around that looks like lesion (A)",
            ),
            (
                "remove_island",
                "mdi-selection-remove",
                "Remove",
                "Click on a part of the mask to remove it (R)",
            ),
        ):
            button("tool", icon, tip, text=text, args=[tool], on=f"tool === '{tool}'", classes="tile")
    with html.Div(classes="row brush", v_if=("['paint', 'erase'].includes(tool)",)):
        html.Span("{{ Number(brush_mm).toFixed(0) }} mm", classes="label")
        slider(
            "brush_mm",
            1,
            40,
            1,
            tooltip="Diameter of the brush ([ and ])",
            update_modelValue=run("brush", "$event"),
        )
        button("sphere", "mdi-sphere", "Paint a ball through the slices, not a disc", on="sphere")
    with html.Div(classes="row", v_if=("!refine_at_once && prompt_count > 0",)):
        button(
            "refine",
            "mdi-check",
            "Update the mask with these clicks",
            text="Refine with the clicks",
            classes="wide",
        )
        button("clear_prompts", "mdi-close", "Remove the clicks")
    with html.Div(classes="row"):
        button("undo", "mdi-undo", "Undo (Ctrl Z)", text="{{ ui.undo || 'Undo' }}", classes="half")
        button("redo", "mdi-redo", "Redo (Ctrl Y)", text="{{ ui.redo || 'Redo' }}", classes="half")


def _clean_up() -> None:
    section("Clean up")
    with html.Div(classes="row operations"):
        for key, operation in OPERATIONS.items():
            values = {
                "remove_small": "{min_ml: Number(min_ml)}",
                "margin": "{margin_mm: Number(margin_mm)}",
            }.get(key, "{}")
            with html.Button(
                classes="tool-button",
                click=run("apply", f"'{key}'", values),
                disabled=("!!ui.blocked.apply",),
                title=(f"ui.blocked.apply || {quoted(f'{operation.title}: {operation.tooltip}')}",),
                raw_attrs=[f'data-command="apply {key}"'],
            ):
                v3.VIcon(OPERATION_ICONS.get(key, "mdi-tune"), size=18)
    with html.Div(classes="row small"):
        for name, text in (("min_ml", "smaller than (ml)"), ("margin_mm", "margin (mm)")):
            with html.Label(classes="number"):
                html.Span(text)
                html.Input(v_model=(name,), type="number", raw_attrs=['step="0.1"', 'min="-20"'])


def _overlays() -> None:
    section("Show")
    with html.Div(classes="row operations"):
        button("toggle_mask", "mdi-eye-outline", "Show or hide the mask (H)", on="mask_visible")
        for name, icon, tip in (
            ("uncertainty", "mdi-help-rhombus-outline", "Uncertainty of the model (O)"),
            ("tissues", "mdi-brain", "Tissues (T)"),
            ("probability", "mdi-gradient-vertical", "The model’s probability of lesion"),
            ("model", "mdi-robot-outline", "The model's mask, beside yours"),
            ("asymmetry", "mdi-compare-horizontal", "Difference between the hemispheres"),
        ):
            button("overlay", icon, tip, args=[name], on=f"ui.overlay === '{name}'")
        button("next_uncertain", "mdi-crosshairs-question", "Next region where the model is unsure (U)")
    with html.Div(classes="row", v_if=("ui.overlay",)):
        html.Span("{{ ui.overlay }}", classes="label")
        slider(
            "overlay_opacity",
            0,
            1,
            0.05,
            tooltip="Opacity",
            update_modelValue=run("overlay_opacity", "$event"),
        )
    with html.Div(classes="legend", v_if=("legend",)):
        html.Span("{{ legend.low }}", v_if=("legend.map",), classes="dim")
        html.Span(v_if=("legend.map",), classes=("'ramp ' + legend.map",))
        html.Span("{{ legend.high }}", v_if=("legend.map",), classes="dim")
        with html.Span(v_for=("c in legend.colors",), key="c.name", classes="swatch"):
            html.I(style=("`background:${c.css}`",))
            html.Span("{{ c.name }}")


def _read_out() -> None:
    with html.Div(classes="read-out", raw_attrs=['data-test="read-out"']):
        with html.Div():
            html.Span("{{ ui.open_image ? ui.volume : '–' }}", classes="big-number")
            html.Span("ml", classes="dim")
        with html.Div():
            html.Span("{{ ui.open_image ? ui.count : '–' }}", classes="big-number")
            html.Span("{{ ui.count === 1 ? 'lesion' : 'lesions' }}", classes="dim")
        with html.Div(v_if=("ui.dice !== null",), title="Overlap of your mask with the model's (Dice)"):
            html.Span("{{ ui.dice }}", classes="big-number")
            html.Span("to model", classes="dim")
    with html.Div(
        classes=("ui.stroke_stages.length ? 'structures below-stage' : 'structures'",),
        v_if=("ui.open_image && (ui.structures.length || ui.outcome.length)",),
        title="Structures that the lesion of the model's mask touches, with ml and share of each",
        raw_attrs=['data-test="structures"'],
    ):
        with html.Div(
            v_if=("ui.outcome.length",),
            classes="outcome",
            title="Estimated from the lesion of the model's mask; for research, not for decisions about patients",
            raw_attrs=['data-test="outcome"'],
        ):
            html.Div("{{ line }}", v_for=("line in ui.outcome",), key=("line",))
        html.Div("{{ line }}", v_for=("line in ui.structures",), key=("line",))
    html.Div("{{ ui.status }}", classes="status", raw_attrs=['data-test="status"'])


def _hand_in() -> None:
    with html.Div(classes="row", v_if=("ui.is_pseudo_label",)):
        button(
            "accept",
            "mdi-check-all",
            "Accept the model’s mask, with your corrections; next",
            text="Accept",
            classes="half",
        )
        button(
            "reject",
            "mdi-close-octagon-outline",
            "Reject the model’s mask; next",
            text="Reject",
            classes="half",
        )
    with html.Div(classes="row"):
        button(
            "submit",
            "mdi-tray-arrow-up",
            "Submit this mask; the model learns from it",
            text="Submit",
            classes="half",
        )
        button(
            "submit_and_next",
            "mdi-skip-next",
            "Submit, then open the next scan (Ctrl Enter)",
            text="Submit + next",
            classes="half main",
        )
    with html.Div(classes="row minor"):
        for path, text, tip in (
            ("mask", "Mask", "Save the mask as NIfTI"),
            ("report", "Numbers", "Save volumes and provenance as JSON"),
        ):
            html.A(
                text,
                href=(f"ui.open_image ? 'download/{path}' : null",),
                classes="link",
                title=tip,
                raw_attrs=["download"],
            )
        html.A(
            "Report",
            v_if=("ui.has_report",),
            href="lesion-report",
            target="_blank",
            classes="link",
            title="Open a page with pictures of the lesion that the model found",
            raw_attrs=['data-test="lesion-report"'],
        )
        v3.VSpacer()
        with html.Button(
            click=run("toggle", "'show_train'"),
            classes="link",
            title="Fine-tune the model on the submitted masks",
            raw_attrs=['data-test="training"'],
        ):
            html.Span(
                "{{ ui.training.running ? 'Training ' + ui.training.epoch + ' / ' + ui.training.epochs : 'Train' }}"
            )
    v3.VProgressLinear(
        v_if=("ui.training.running",),
        model_value=("100 * ui.training.epoch / Math.max(ui.training.epochs, 1)",),
        color="primary",
        height=3,
    )
