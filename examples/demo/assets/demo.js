/* The few things that only the browser can do: the theme, the current page, the waits it saw, how
   its link is, and what the chat and the answers send. */
(function () {
  "use strict";
  var dash = (window.dash_clientside = window.dash_clientside || {});
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  var KEPT = 120; // answers, half a minute of them
  var seen = nothing();

  var SILENCE = "Nobody has said anything yet. Open this page in a second tab, and say hello.";
  var me = null; // who this page is in the chat
  var TAPE = 240; // values of the tape that are drawn, four seconds of them
  var tape = { by: null, number: 0, count: 0, missed: 0, age: 0, times: [], values: [], frame: 0, written: 0 };
  var reopening = 0;

  function element(type, props) {
    return { type: type, namespace: "dash_html_components", props: props };
  }

  function remark(said) {
    var initials = said.name.split(" ").map(function (part) {
      return part.charAt(0);
    });
    var time = new Date(said.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return element("Div", {
      className: me && said.by === me.number ? "remark mine" : "remark",
      children: [
        element("Span", { className: "avatar tint-" + said.tint, children: initials.join(""), "aria-hidden": "true" }),
        element("Div", {
          className: "remark-body",
          children: [
            element("Div", {
              className: "remark-head",
              children: [element("Strong", { children: said.name }), element("Span", { children: time })],
            }),
            element("P", { children: said.text }),
          ],
        }),
      ],
    });
  }

  // Called for each value of the tape; what is shown follows the screen.
  window.flash.on("beat", function (beat) {
    var now = performance.now();
    if (beat.by === tape.by && beat.number > tape.number + 1) tape.missed += beat.number - tape.number - 1;
    tape.by = beat.by;
    tape.number = beat.number;
    tape.count += 1;
    tape.age = Math.max(0, Date.now() - beat.at * 1000);
    tape.times.push(now);
    while (tape.times[0] < now - 1000) tape.times.shift();
    tape.values.push(beat.value);
    if (tape.values.length > TAPE) tape.values.shift();
    if (!tape.frame) tape.frame = requestAnimationFrame(drawTape);
  });

  function drawTape(now) {
    tape.frame = 0;
    var canvas = document.getElementById("pulse-line");
    if (!canvas) return;
    var scale = window.devicePixelRatio || 1;
    var width = canvas.clientWidth;
    var height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    var pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = getComputedStyle(root).getPropertyValue("--accent");
    pen.lineWidth = 2;
    pen.beginPath();
    tape.values.forEach(function (value, index) {
      var x = width - ((tape.values.length - 1 - index) * width) / (TAPE - 1);
      pen.lineTo(x, height / 2 - (value * height) / 2.2);
    });
    pen.stroke();
    // Figures that change sixty times a second cannot be read.
    if (now - tape.written < 250) return;
    tape.written = now;
    write("pulse-count", tape.count.toLocaleString("en"));
    write("pulse-rate", String(tape.times.length));
    write("pulse-age", tape.age.toFixed(0) + " ms");
    write("pulse-missed", String(tape.missed));
    write("pulse-by", String(tape.by));
  }

  function write(id, text) {
    var place = document.getElementById(id);
    if (place) place.textContent = text;
  }

  function nothing() {
    return { last: null, busy: false, started: false, answers: 0, ticks: [] };
  }

  function chosenTheme() {
    try {
      return localStorage.getItem("theme");
    } catch (error) {
      return null; // storage is off: the theme lasts as long as the page
    }
  }

  function rememberTheme(theme) {
    try {
      localStorage.setItem("theme", theme);
    } catch (error) {
      /* as above */
    }
  }

  // A server that is blocked tells nothing until it is free again.
  document.addEventListener("click", function (event) {
    if (event.target.id === "report" || event.target.id === "blocking-report") seen.started = true;
  });

  // -- The figures of a chart as a table, made when it is opened

  document.addEventListener(
    "toggle",
    function (event) {
      var details = event.target;
      if (!details.classList.contains("chart-table") || !details.open) return;
      var plot = details.parentElement.querySelector(".js-plotly-plot");
      // What plotly has read of the figure: plain lists, whatever they came as.
      fillTable(details.querySelector("div"), (plot && plot._fullData) || []);
    },
    true
  );

  function fillTable(place, traces) {
    place.textContent = "";
    place.tabIndex = 0;
    var table = place.appendChild(document.createElement("table"));
    traces.forEach(function (trace) {
      var names = Array.prototype.slice.call(trace.labels || trace.y || []);
      var columns = trace.labels ? [trace.labels, trace.values] : [trace.x, trace.y];
      if (trace.z) columns = [];
      row(table, "th", trace.name && traces.length > 1 ? [trace.name, ""] : []);
      names.slice(0, 400).forEach(function (_, index) {
        row(table, "td", columns.map(function (column) {
          return column ? column[index] : "";
        }));
      });
      (trace.z || []).forEach(function (line, index) {
        Array.prototype.forEach.call(line, function (value, place) {
          row(table, "td", [trace.y[index], trace.x[place], value]);
        });
      });
    });
    if (!table.rows.length) place.textContent = "No figures yet.";
  }

  function row(table, kind, cells) {
    if (!cells.length) return;
    var line = table.insertRow();
    cells.forEach(function (cell) {
      var text = typeof cell === "number" ? cell.toLocaleString("en", { maximumFractionDigits: 3 }) : String(cell);
      line.appendChild(document.createElement(kind)).textContent = text;
    });
  }

  // -- Dash's radio buttons say of themselves that they are a list box without a name, whose options
  // hold buttons, and its dropdowns have a field that is hidden and yet reached by the tab key.

  var mending = 0;

  function mendLater() {
    if (!mending) mending = requestAnimationFrame(mend);
  }

  function mend() {
    mending = 0;
    document.querySelectorAll(".dash-radioitems[role=listbox]").forEach(function (group) {
      var legend = group.parentElement.querySelector("legend");
      group.setAttribute("role", "radiogroup");
      if (legend) group.setAttribute("aria-label", legend.textContent);
    });
    document.querySelectorAll(".dash-radioitems [role=option], .dash-radioitems label[aria-selected]").forEach(function (label) {
      label.removeAttribute("role");
      label.removeAttribute("aria-selected");
    });
    document.querySelectorAll('.dash-dropdown-focus-target[tabindex="0"]').forEach(function (field) {
      field.tabIndex = -1;
    });
  }

  new MutationObserver(mendLater).observe(document, {
    attributeFilter: ["role", "aria-selected", "tabindex"],
    childList: true,
    subtree: true,
  });

  system.addEventListener("change", function () {
    if (chosenTheme()) return;
    root.dataset.theme = system.matches ? "dark" : "light";
    dash.set_props("theme", { data: root.dataset.theme });
  });

  dash.demo = {
    theme: function (clicks) {
      if (clicks) {
        root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
        rememberTheme(root.dataset.theme);
      }
      return root.dataset.theme;
    },

    markCurrentPage: function (path) {
      document.querySelectorAll("nav a").forEach(function (link) {
        if (link.getAttribute("href") === path) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      });
      seen = nothing();
      return dash.no_update;
    },

    reloadWhenPrepared: function (prepared) {
      if (prepared) location.reload();
      return dash.no_update;
    },

    showLink: function (status) {
      var words = {
        connecting: "Connecting",
        open: "Live",
        reconnecting: "Reconnecting",
        offline: "Offline: reload the page",
      };
      return ["link-badge " + status, words[status] || status];
    },

    // What the server sends is text, and shown as text: children that are strings are never HTML.
    chatMessage: function (message, log) {
      var sent = JSON.parse(message.data);
      if (sent.note) return [dash.no_update, dash.no_update, sent.note];
      var before = sent.you || !Array.isArray(log) ? [] : log;
      if (sent.you) me = sent.you;
      var remarks = before.concat(sent.said.map(remark)).slice(-100);
      window.setTimeout(function () {
        var list = document.getElementById("chat-log");
        if (list) list.scrollTop = list.scrollHeight;
      });
      return [
        remarks.length ? remarks : element("Div", { className: "empty", children: SILENCE }),
        me ? "You are " + me.name : dash.no_update,
        "",
      ];
    },

    chatState: function (state, link, url) {
      var open = Boolean(state && state.readyState === WebSocket.OPEN);
      // The component opens a socket once; another address makes it open another.
      var lost = state && state.readyState === WebSocket.CLOSED && state.code !== undefined;
      if (lost && link === "open") {
        window.clearTimeout(reopening);
        reopening = window.setTimeout(function () {
          if (!document.getElementById("chat-log")) return;
          dash.set_props("chat", { url: url.split("?")[0] + "?" + Date.now() });
        }, 500 + 1500 * Math.random());
      }
      return [!open, !open];
    },

    say: function (_submits, _clicks, text) {
      if (!text || !text.trim()) return [dash.no_update, dash.no_update];
      // With the time, since the component does not send the same twice.
      return [JSON.stringify({ text: text, at: Date.now() }), ""];
    },

    answer: function (value, done, options) {
      if (!options) return [dash.no_update, dash.no_update];
      return [value || "Looking it up …", done ? "answer" : value ? "answer writing" : "answer waiting"];
    },

    // The slider comes into the page after its label.
    nameSlider: function (id, label) {
      var watch = new MutationObserver(name);
      function name() {
        var slider = document.getElementById(id);
        if (slider && slider.querySelector("[role=slider]")) {
          slider.querySelectorAll("[role=slider], input").forEach(function (part) {
            part.setAttribute("aria-labelledby", label);
          });
        } else if (document.getElementById(label)) {
          return;
        }
        watch.disconnect();
      }
      watch.observe(document.body, { childList: true, subtree: true });
      name();
      return dash.no_update;
    },

    bringIntoView: function (children, id) {
      // Not for the order that is shown before anybody has chosen one.
      if (children && document.activeElement && document.activeElement.closest("#table")) {
        document.getElementById(id).scrollIntoView({ behavior: "smooth", block: "nearest" });
      }
      return dash.no_update;
    },

    tick: function (tick, reporting, blocking, waitsFigure, loadFigure) {
      var now = performance.now();
      // A browser slows the timers of a hidden page down: that is no wait of the server's.
      var wait = seen.last === null || document.hidden ? null : now - seen.last;
      var busy = Boolean(reporting || blocking);
      var slow = busy || seen.busy || seen.started; // at either end of the wait, or in between
      seen.started = false;
      seen.last = document.hidden ? null : now;
      seen.busy = busy;
      seen.answers += 1;
      seen.ticks = seen.ticks.concat({ time: localTime(), wait: wait, slow: slow, load: tick.cpu }).slice(-KEPT);

      var waited = seen.ticks.filter(function (entry) {
        return entry.wait !== null;
      });
      var longest = Math.max.apply(null, waited.map(pluck("wait")).concat(0));
      var calm = waited.filter(function (entry) {
        return !entry.slow;
      });
      var slowed = waited.filter(pluck("slow"));
      return [
        tick.clock,
        seen.answers.toLocaleString("en"),
        longest ? Math.round(longest) + " ms" : "–",
        String(tick.threads),
        withPoints(waitsFigure, [points(calm, "wait"), points(slowed, "wait")]),
        withPoints(loadFigure, [points(seen.ticks, "load")]),
      ];
    },
  };

  function localTime() {
    var now = new Date();
    return new Date(now - now.getTimezoneOffset() * 60000).toISOString().slice(0, -1);
  }

  function pluck(name) {
    return function (entry) {
      return entry[name];
    };
  }

  function points(entries, name) {
    return { x: entries.map(pluck("time")), y: entries.map(pluck(name)) };
  }

  function withPoints(figure, byTrace) {
    var data = figure.data.map(function (trace, index) {
      return Object.assign({}, trace, byTrace[index]);
    });
    return Object.assign({}, figure, { data: data });
  }
})();
