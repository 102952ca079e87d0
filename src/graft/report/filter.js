// Filters the items by task, outcome and text. Without it every item is still there to read.
(function () {
  var form = document.getElementById("filter");
  if (!form) return;
  var items = Array.prototype.slice.call(document.querySelectorAll("details.item"));
  var groups = Array.prototype.slice.call(document.querySelectorAll("[data-group]"));
  var count = document.getElementById("filter-count");
  function apply() {
    var task = form.elements.task.value, outcome = form.elements.outcome.value;
    var text = form.elements.text.value.trim().toLowerCase(), shown = 0;
    items.forEach(function (item) {
      var fits = (!task || item.dataset.task === task) && (!outcome || item.dataset.outcome === outcome) &&
        (!text || item.textContent.toLowerCase().indexOf(text) >= 0);
      item.hidden = !fits;
      if (fits) shown += 1;
    });
    groups.forEach(function (group) {
      group.hidden = !group.querySelector("details.item:not([hidden])");
    });
    count.textContent = shown + " of " + items.length + " items shown";
    document.documentElement.dataset.filter = String(shown);
  }
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("input", apply);
  form.addEventListener("reset", function () { setTimeout(apply, 0); });
  form.hidden = false;
  apply();
})();
