(() => {
  const list = document.getElementById("queries");
  if (!list) return;
  const queries = [...list.children];
  const controls = document.querySelector(".controls");
  const find = document.getElementById("find");
  const label = document.getElementById("label");
  const order = document.getElementById("order");
  const count = document.getElementById("count");
  const number = (query, name) => Number(query.dataset[name]);
  const orders = {
    overlap: (a, b) => number(a, "overlap") - number(b, "overlap"),
    loss: (a, b) => number(a, "gain") - number(b, "gain"),
    gain: (a, b) => number(b, "gain") - number(a, "gain"),
    weight: (a, b) => number(b, "weight") - number(a, "weight"),
  };

  function sift() {
    const wanted = find.value.trim().toLowerCase();
    let shown = 0;
    for (const query of queries) {
      const fits = (!wanted || query.textContent.toLowerCase().includes(wanted))
        && (!label || !label.value || query.dataset.label === label.value);
      query.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === queries.length ? "" : `${shown} of ${queries.length}`;
  }

  function sort() {
    queries.sort(orders[order.value]);
    list.append(...queries);
  }

  function step(by) {
    const visible = queries.filter((query) => !query.hidden);
    if (!visible.length) return;
    const here = visible.findIndex((query) => query.contains(document.activeElement));
    const next = visible[here < 0 ? 0 : Math.min(visible.length - 1, Math.max(0, here + by))];
    for (const query of visible) query.open = query === next;
    next.querySelector("summary").focus({ preventScroll: true });
    next.scrollIntoView({ block: "start" });
  }

  function light(row, on) {
    if (!row || !row.dataset.twin) return;
    const twin = document.getElementById(row.dataset.twin);
    const path = row.closest(".lists").querySelector(`path[data-from="${row.id}"], path[data-from="${twin.id}"]`);
    for (const one of [row, twin, path]) if (one) one.classList.toggle("lit", on);
  }

  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  find.addEventListener("input", sift);
  if (label) label.addEventListener("change", sift);
  order.addEventListener("change", sort);
  for (const [on, over, into] of [[true, "mouseover", "focusin"], [false, "mouseout", "focusout"]]) {
    for (const name of [over, into]) {
      list.addEventListener(name, (event) => light(event.target.closest("li"), on));
    }
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });
})();
