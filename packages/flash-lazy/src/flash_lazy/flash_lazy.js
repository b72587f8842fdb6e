/* LazyLoad and @lazy in the browser, with Dash's React. */
(() => {
  const { createElement: h, useEffect, useRef, useState } = React;
  const { flushSync } = ReactDOM;
  // Milliseconds: from a request's end to what it brought; without scrolling; of scrolling.
  const GRACE = 300;
  const REST = 100;
  const PATIENCE = 500;
  const PENDING = ".flash-lazy .dash-graph--pending";

  const mounted = new Set();
  const queue = [];

  const named = (name, props) => name + (props.class_name ? " " + props.class_name : "");

  // A component gets a dictionary as JSON, a request has it as it is.
  const keyOf = (id) => (typeof id === "object" ? JSON.stringify(id) : id);

  let scrolled = 0;
  addEventListener("scroll", () => (scrolled = Date.now()), { capture: true });

  // What the page has is drawn one per task, so that it scrolls between two; the server is asked
  // for many. Those that are only passed do not come at all.
  const enqueue = (panel) => {
    panel.queued = true;
    if (queue.push([panel, Date.now()]) === 1) setTimeout(next);
  };
  const next = () => {
    const [panel, since] = queue[0];
    const waited = Date.now() - since;
    if (
      (Date.now() < scrolled + REST && waited < PATIENCE) ||
      // Else all graphs that wait for plotly are drawn in one task.
      (!panel.remote && waited < 9 * PATIENCE && document.querySelector(PENDING))
    )
      return setTimeout(next, REST / 4);
    let at = 0;
    try {
      flushSync(() => {
        do queue[at++][0].open();
        while (queue[at] && queue[at][0].remote);
      });
    } finally {
      queue.splice(0, at);
      if (queue.length) setTimeout(next);
    }
  };

  // The server ends a run that nobody waits for; a page that only shows another path still has the
  // connection, and one that the browser keeps for the way back may have it, too.
  const drop = (panels) => {
    const keys = panels.filter((panel) => panel.remote).map((panel) => panel.key);
    flash.requests.drop((outputs) =>
      outputs.some(({ id, property }) => property === "answer" && keys.includes(keyOf(id)))
    );
  };
  addEventListener("pagehide", () => {
    const left = [...mounted].filter((panel) => panel.loading);
    left.forEach((panel) => (panel.left = true));
    drop(left);
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    mounted.forEach((panel) => {
      if (panel.left) panel.ask();
      panel.left = false;
    });
  });

  const scrolls = (node) =>
    node !== document.body &&
    (/auto|scroll/.test(getComputedStyle(node).overflow) || scrolls(node.parentElement));

  const observe = (element, margin, selector, tell) => {
    const root = selector && (element.closest(selector) || document.querySelector(selector));
    const observer = new IntersectionObserver(
      (entries) => tell(entries[entries.length - 1].isIntersecting),
      // Not both for all: the page's own scrolling would count them.
      { root, rootMargin: margin, scrollMargin: !root && scrolls(element) ? margin : "0px" }
    );
    observer.observe(element);
    return () => observer.disconnect();
  };

  const LazyLoad = (props) => {
    const api = window.dash_component_api;
    const context = api.useDashContext();
    const isLoading = context.useLoading();
    const element = useRef(null);
    const { request, answer, when = "visible", offset = 200 } = props;
    const my = useRef({ counted: answer && answer.n }).current;
    const [near, setNear] = useState(false);
    const [wanted, setWanted] = useState(false);
    const [lost, setLost] = useState(0);
    const [refused, setRefused] = useState(false);
    const [oldAt, setOldAt] = useState(0);
    const remote = props.token !== undefined;
    const answered = request && answer && answer.n >= request.n;
    const drawn = wanted && (!remote || (answer && (answer.ok || answered)));
    let status = "idle";
    if (!remote) status = wanted ? "loaded" : "idle";
    else if (answered) status = answer.ok ? "loaded" : "error";
    else if (request) status = lost === request.n ? "error" : "loading";

    Object.assign(my, {
      props,
      remote,
      status,
      key: keyOf(props.id),
      loading: status === "loading",
      settled: wanted && status !== "loading",
      ask() {
        my.asked = Date.now();
        my.props.setProps({ request: { n: my.asked } });
      },
      load() {
        if (remote && !my.asked) my.ask();
      },
      open() {
        if (my.queued) my.show();
      },
      show() {
        my.queued = false;
        my.shown = true;
        my.load();
        setWanted(true);
      },
      want(atOnce) {
        if (my.shown) return;
        if (atOnce) my.show();
        else if (!my.queued) enqueue(my);
      },
      look() {
        my.timer = 0;
        setNear(my.near);
        if (when === "visible") {
          if (my.near) my.want();
          else my.queued = false;
        }
        if (!my.near && my.props.unmount_if_invisible && my.shown) {
          my.kept = element.current.offsetHeight;
          my.shown = false;
          setWanted(false);
        }
      },
      change(isNear) {
        const { debounce, throttle } = my.props;
        my.near = isNear;
        const wait = debounce || throttle;
        if (debounce) my.timer = clearTimeout(my.timer);
        if (!wait) my.look();
        else if (!my.timer) my.timer = setTimeout(my.look, wait);
      }
    });

    useEffect(() => {
      mounted.add(my);
      my.asked = answered || (request && isLoading) ? request.n : 0;
      // It was lost while something else was shown.
      if (request && !my.asked) my.ask();
      const seek = () => {
        const id = new URLSearchParams("id=" + location.hash.slice(1)).get("id");
        const inside = () => JSON.stringify(api.getLayout(context.componentPath) || "");
        if (
          id &&
          ((my.props.anchors || []).includes(id) ||
            (!remote && inside().includes('"id":' + JSON.stringify(id))))
        ) {
          my.sought = id;
          element.current.scrollIntoView();
          my.want(true);
        }
      };
      seek();
      addEventListener("hashchange", seek);
      return () => {
        mounted.delete(my);
        // Later, since a panel that is moved is mounted again at once.
        setTimeout(() => [...mounted].some((panel) => panel.key === my.key) || drop([my]));
        removeEventListener("hashchange", seek);
        clearTimeout(my.timer);
        my.queued = false;
      };
    }, []);

    useEffect(() => {
      const later = (run) =>
        (window.requestIdleCallback || setTimeout)(() => mounted.has(my) && run(), {
          timeout: 2000
        });
      if (when === "mount" || (when === "visible" && !window.IntersectionObserver)) my.want();
      if (when === "idle") later(my.want);
      if (props.prefetch === "idle") later(my.load);
    }, [when, props.prefetch]);

    const margin = [0, 1, 2, 3].map((at) => (offset.map ? offset[at] : offset) + "px").join(" ");
    const done = props.once && drawn;
    useEffect(() => {
      if (!done && window.IntersectionObserver)
        return observe(element.current, margin, props.scroll_container, my.change);
    }, [margin, props.scroll_container, done]);

    // A request that ends without an answer has failed.
    useEffect(() => {
      if (status !== "loading") return;
      if (isLoading) {
        my.flying = request.n;
      } else if (my.flying === request.n) {
        const timer = setTimeout(() => setLost(request.n), GRACE);
        return () => clearTimeout(timer);
      }
    }, [isLoading, status, request]);

    // No second attempt helps a panel of another deployment, or of a session that has ended.
    useEffect(() => {
      setRefused(false);
      if (!lost) return;
      const check = { method: "POST", body: JSON.stringify({ token: props.token }) };
      const config = JSON.parse(document.getElementById("_dash-config").textContent);
      fetch(config.requests_pathname_prefix + "_flash_lazy/check", check)
        .then((response) => response.json())
        .then((found) => mounted.has(my) && setRefused(found.refused === true))
        .catch(() => {});
    }, [lost, props.token]);

    // All pages hear of it at once.
    useEffect(() => {
      if (!props.live) return;
      const age = () => setOldAt(Date.now() + GRACE * Math.random());
      const forget = flash.on("flash_lazy", (topic) => props.live.startsWith(topic) && age());
      // A link that has lost messages may have lost this one.
      let missed = true;
      const leave = flash.link.onStatus(({ status, recovered }) => {
        const misses = status === "open" && recovered === false;
        if (misses && !missed) age();
        missed = misses;
      });
      return () => {
        forget();
        leave();
      };
    }, [props.live]);

    // One that missed its time catches up when it is seen.
    useEffect(() => {
      const due = oldAt > my.asked ? oldAt : my.asked + props.refresh_every * 1000;
      if (!due || !drawn || !near || status === "loading") return;
      const event = "visibilitychange";
      const refresh = () =>
        document.hidden ? document.addEventListener(event, refresh, { once: true }) : my.ask();
      const timer = setTimeout(refresh, due - Date.now());
      return () => {
        clearTimeout(timer);
        document.removeEventListener(event, refresh);
      };
    }, [props.refresh_every, drawn, near, status, answer, oldAt]);

    // What callbacks can read.
    const edition = remote ? answer && answer.n : drawn || undefined;
    useEffect(() => {
      const news = { visible: near, status };
      if (props.suspend) {
        news.suspended = !near;
        element.current.dispatchEvent(new CustomEvent("flash-lazy-suspend", { detail: !near }));
      }
      if (status === "loaded" && drawn && my.counted !== edition) {
        news.load_count = (props.load_count || 0) + 1;
        my.took = Date.now() - edition;
      }
      if (drawn || !remote) my.counted = edition;
      if (status !== "idle" || near || props.status) props.setProps(news);
      const target = drawn && my.sought && document.getElementById(my.sought);
      if (target) {
        my.sought = "";
        target.scrollIntoView();
      }
    }, [near, status, drawn, edition]);

    const { height } = props;
    const attributes = {
      id: props.id,
      ref: element,
      className: named("flash-lazy", props),
      style: {
        width: props.width,
        minHeight: height || (drawn ? "" : my.kept || (props.placeholder ? 1 : 100)),
        "--flash-lazy-height": typeof height === "number" ? height + "px" : height,
        ...props.style
      },
      "data-status": status,
      "data-suspended": props.suspend && !near,
      "aria-busy": status === "loading" || (status === "idle" && when !== "click")
    };
    if (!drawn) {
      // Else the focus would pass over it.
      const byHand = when === "click";
      const open = (event) => {
        if (event.key && !/^(Enter| )$/.test(event.key)) return;
        event.preventDefault();
        my.want(true);
      };
      Object.assign(attributes, {
        tabIndex: 0,
        role: byHand ? "button" : "group",
        "aria-label": byHand ? "Load" : "Not loaded yet",
        onClick: byHand ? open : null,
        onKeyDown: byHand ? open : null,
        onFocus() {
          my.focused = true;
          if (!byHand) my.want(true);
        }
      });
    } else if (my.focused) {
      // Keeps the focus here: the next Tab goes inside.
      attributes.tabIndex = -1;
    }
    for (const name in props) if (/^(data|aria)-/.test(name)) attributes[name] = props[name];

    const failed = status === "error";
    return h(
      "div",
      attributes,
      drawn ? props.children : failed || props.placeholder,
      failed &&
        h(
          "div",
          { className: "flash-lazy-error", role: "alert" },
          !answered &&
            h(
              "p",
              null,
              refused
                ? "This page is from before a change of the app or of your session."
                : "This part could not be loaded."
            ),
          h(
            "button",
            {
              type: "button",
              className: "flash-lazy-retry",
              onClick: () => (refused ? location.reload() : my.ask())
            },
            refused ? "Reload the page" : "Try again"
          )
        )
    );
  };

  const Skeleton = (props) =>
    h("div", {
      id: props.id,
      className: named("flash-skeleton", props),
      style: { height: props.height, width: props.width, ...props.style },
      "aria-hidden": true
    });

  const unsettled = () => {
    const open = [...mounted].filter((panel) => !panel.settled);
    open.forEach((panel) => panel.want(true));
    return open.length;
  };
  const loadAll = () => {
    flushSync(unsettled);
    return new Promise((resolve) => {
      // Panels bring panels; two frames are for graphs.
      const look = () =>
        unsettled()
          ? setTimeout(look, 50)
          : requestAnimationFrame(() => requestAnimationFrame(resolve));
      look();
    });
  };
  const print = window.print.bind(window);
  window.print = () => (unsettled() ? loadAll().then(print) : print());
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "p" && unsettled()) {
      event.preventDefault();
      window.print();
    }
  });
  // From the browser's menu: what the page has is drawn.
  addEventListener("beforeprint", loadAll);

  window.flash_lazy = { LazyLoad, LazyPanel: LazyLoad, Skeleton, loadAll, mounted };
})();
