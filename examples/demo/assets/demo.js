/* The few things that only the browser can do: the theme, the current page, the waits it saw. */
(function () {
  "use strict";
  var dash = (window.dash_clientside = window.dash_clientside || {});
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  var KEPT = 120; // answers, half a minute of them
  var seen = nothing();

  function nothing() {
    return { last: null, busy: false, answers: 0, ticks: [] };
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

    bringIntoView: function (children, id) {
      if (children) {
        document.getElementById(id).scrollIntoView({ behavior: "smooth", block: "nearest" });
      }
      return dash.no_update;
    },

    tick: function (tick, reporting, blocking, waitsFigure, loadFigure) {
      var now = performance.now();
      // A browser slows the timers of a hidden page down: that is no wait of the server's.
      var wait = seen.last === null || document.hidden ? null : now - seen.last;
      var busy = Boolean(reporting || blocking);
      var slow = busy || seen.busy; // at either end of the wait
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
