// Keys, files dropped into the window, and leaving with unsubmitted work.
(() => {
  const state = (name) => window.trame?.state?.get(name);
  const command = (name, ...args) => window.trame?.trigger("command", [name, ...args]);

  window.addEventListener("keydown", (event) => {
    const target = event.target;
    const typing = target.matches?.("input:not([type=range]), textarea, [contenteditable]");
    if (typing || event.altKey || event.metaKey) return;
    if (state("question") || (state("show_settings") && event.key !== "Escape")) return;
    if (state("tab") === "simulate" && event.key !== "Escape") return; // the views and their tools are not shown
    const key = (event.ctrlKey ? "Ctrl+" : "") + (event.ctrlKey ? event.key.toLowerCase() : event.key);
    const found = (state("shortcuts") || []).find((s) => s.key === key || s.key === key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    if (key === "Escape") {
      for (const name of ["show_help", "show_settings", "show_train"])
        if (state(name)) return command("toggle", name);
      if (state("error")) return command("dismiss_error");
      if (state("tool") !== "navigate") return command("tool", "navigate");
      if (!state("ui")?.can_cancel) return;
    }
    command(found.command, ...found.args);
  });

  async function filesOf(entry, path = "") {
    if (entry.isFile)
      return [await new Promise((done, failed) => entry.file((f) => done({ file: f, path: path + f.name }), failed))];
    const reader = entry.createReader();
    const all = [];
    for (;;) {
      const part = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!part.length) break;
      for (const child of part) all.push(...(await filesOf(child, `${path}${entry.name}/`)));
    }
    return all;
  }

  async function send(found) {
    if (!found.length) return;
    const form = new FormData();
    for (const { file, path } of found) form.append("file", file, encodeURIComponent(path));
    window.trame.state.set("uploading", `Reading ${found.length === 1 ? found[0].path : found.length + " files"}`);
    try {
      const answer = await fetch("upload", { method: "POST", body: form, headers: { "X-StrokeLabel": "page" } });
      if (!answer.ok) window.trame.state.set("error", await answer.text());
    } catch {
      window.trame.state.set("error", "The page's own process does not answer; start it again with: strokelabel browse");
    } finally {
      window.trame.state.set("uploading", "");
    }
  }

  window.strokelabelUpload = (list) =>
    send([...list].map((file) => ({ file, path: file.webkitRelativePath || file.name })));

  let depth = 0;
  const hover = (on) => document.body.classList.toggle("dropping", on);
  window.addEventListener("dragenter", (e) => { e.preventDefault(); depth += 1; hover(true); });
  window.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) { depth = 0; hover(false); } });
  window.addEventListener("dragover", (e) => e.preventDefault());
  window.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    hover(false);
    const entries = [...event.dataTransfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    for (const entry of entries) found.push(...(await filesOf(entry)));
    await send(found);
  });

  window.addEventListener("beforeunload", (event) => {
    if (state("ui")?.busy) event.preventDefault();
  });
})();
