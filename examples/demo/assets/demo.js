/* The few things that only the browser can do: the theme, the current page, the waits it saw. */
(function () {
  "use strict";
  var dash = (window.dash_clientside = window.dash_clientside || {});
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  var waits = noWaits();

  function noWaits() {
    return { last: null, busy: false, answers: 0, recent: [] };
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
      waits = noWaits();
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

    tick: function (tick, reporting, blocking) {
      var now = performance.now();
      // A browser slows the timers of a hidden page down: that is no wait of the server's.
      var wait = waits.last === null || document.hidden ? null : now - waits.last;
      waits.last = document.hidden ? null : now;
      waits.answers += 1;
      var busy = reporting || blocking;
      var slow = busy || waits.busy; // at either end of the wait
      waits.busy = busy;
      if (wait !== null) waits.recent = waits.recent.concat(wait).slice(-120);
      var time = new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, -1);
      var longest = waits.recent.length ? Math.max.apply(null, waits.recent) : 0;
      return [
        tick.clock,
        waits.answers.toLocaleString("en"),
        longest ? Math.round(longest) + " ms" : "–",
        String(tick.threads),
        wait === null ? dash.no_update : [{ x: [[time]], y: [[wait]] }, [slow ? 1 : 0], 120],
        [{ x: [[time]], y: [[tick.cpu]] }, [0], 240],
      ];
    },
  };
})();
