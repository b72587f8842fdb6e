/* flash_lazy: LazyLoad and @lazy in the browser. React and ReactDOM are Dash's. */
(() => {
  "use strict";
  const { createElement: h, useEffect, useRef, useState } = window.React;
  // Milliseconds: from the end of a request to what it brought; without scrolling; of scrolling.
  const GRACE = 300;
  const REST = 100;
  const PATIENCE = 500;

  const mounted = new Set();
  const observers = new Map();
  const queue = [];

  const flush = (change) => window.ReactDOM.flushSync(change);
  const px = (size) => (typeof size === "number" ? size + "px" : size);
  const named = (name, props) => name + (props.class_name ? " " + props.class_name : "");

  let scrolled = 0;
  window.addEventListener("scroll", () => (scrolled = Date.now()), { capture: true });

  // Panels come one per task, so that the page scrolls between two of them, and those that are
  // only passed do not come at all.
  const enqueue = (open) => queue.push({ open, since: Date.now() }) === 1 && setTimeout(next);
  const next = () => {
    const now = Date.now();
    if (now < Math.min(scrolled + REST, queue[0].since + PATIENCE)) {
      setTimeout(next, REST / 2);
      return;
    }
    try {
      flush(queue[0].open);
    } finally {
      queue.shift();
      if (queue.length) setTimeout(next);
    }
  };

  const scrolls = (node) =>
    node !== document.body &&
    (/auto|scroll/.test(getComputedStyle(node).overflow) || scrolls(node.parentElement));

  // Panels with the same margin and container share an observer.
  const observe = (element, margin, selector, tell) => {
    const root =
      (selector && (element.closest(selector) || document.querySelector(selector))) || null;
    // Not for all: the page's own scrolling would count it too.
    const scrollMargin = !root && scrolls(element) ? margin : "0px";
    const key = margin + scrollMargin + selector;
    let shared = observers.get(key);
    if (!shared || shared.root !== root) {
      const listeners = new Map();
      shared = new IntersectionObserver(
        (entries) =>
          entries.forEach((entry) => {
            const listener = listeners.get(entry.target);
            if (listener) listener(entry.isIntersecting);
          }),
        { root, rootMargin: margin, scrollMargin }
      );
      shared.listeners = listeners;
      observers.set(key, shared);
    }
    shared.listeners.set(element, tell);
    shared.observe(element);
    return () => {
      shared.unobserve(element);
      shared.listeners.delete(element);
      if (!shared.listeners.size && observers.get(key) === shared) observers.delete(key);
    };
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
    const remote = props.token !== undefined;
    const answered = Boolean(request && answer && answer.n >= request.n);
    const drawn = wanted && (!remote || Boolean(answer && (answer.ok || answered)));
    let status = "idle";
    if (!remote) status = wanted ? "loaded" : "idle";
    else if (answered) status = answer.ok ? "loaded" : "error";
    else if (request) status = lost === request.n ? "error" : "loading";

    Object.assign(my, {
      props,
      settled: wanted && (status === "loaded" || status === "error"),
      ask() {
        my.asked = Date.now();
        const last = my.props.request;
        my.props.setProps({ request: { n: last ? last.n + 1 : 1 } });
      },
      load() {
        if (remote && !my.asked) my.ask();
      },
      show() {
        my.queued = false;
        my.shown = true;
        my.load();
        setWanted(true);
      },
      want(atOnce) {
        if (my.shown) return;
        if (atOnce === true) {
          my.show();
        } else if (!my.queued) {
          my.queued = true;
          enqueue(() => my.queued && my.show());
        }
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
        if (debounce) {
          clearTimeout(my.timer);
          my.timer = 0;
        }
        if (!debounce && !throttle) my.look();
        else if (!my.timer) my.timer = setTimeout(my.look, debounce || throttle);
      }
    });

    useEffect(() => {
      mounted.add(my);
      my.asked = answered || (request && context.isLoading()) ? Date.now() : 0;
      // A request that was lost while something else was shown.
      if (request && !my.asked) my.ask();
      const seek = () => {
        const id = new URLSearchParams("id=" + location.hash.slice(1)).get("id");
        const layout = () => JSON.stringify(api.getLayout(context.componentPath) || "");
        if (
          id &&
          ((my.props.anchors || []).includes(id) ||
            (!remote && layout().includes('"id":' + JSON.stringify(id))))
        ) {
          my.sought = id;
          element.current.scrollIntoView();
          my.want(true);
        }
      };
      seek();
      window.addEventListener("hashchange", seek);
      return () => {
        mounted.delete(my);
        window.removeEventListener("hashchange", seek);
        clearTimeout(my.timer);
        my.queued = false;
      };
    }, []);

    useEffect(() => {
      let alive = true;
      const later = (run) =>
        (window.requestIdleCallback || setTimeout)(() => alive && run(), { timeout: 2000 });
      if (when === "mount" || (when === "visible" && !window.IntersectionObserver)) my.want();
      if (when === "idle") later(my.want);
      if (props.prefetch === "idle") later(my.load);
      return () => {
        alive = false;
      };
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

    // One that missed its time out of view catches up when it is seen.
    useEffect(() => {
      if (!props.refresh_every || !drawn || !near || status === "loading") return;
      const event = "visibilitychange";
      const refresh = () =>
        document.hidden ? document.addEventListener(event, refresh, { once: true }) : my.ask();
      const left = my.asked + props.refresh_every * 1000 - Date.now();
      const timer = setTimeout(refresh, left);
      return () => {
        clearTimeout(timer);
        document.removeEventListener(event, refresh);
      };
    }, [props.refresh_every, drawn, near, status, answer]);

    // What callbacks can read.
    const edition = remote ? answer && answer.n : drawn || undefined;
    useEffect(() => {
      const news = { visible: near, status };
      if (status === "loaded" && drawn && my.counted !== edition)
        news.load_count = (props.load_count || 0) + 1;
      if (drawn || !remote) my.counted = edition;
      if (status !== "idle" || near || props.status) props.setProps(news);
      const target = drawn && my.sought && document.getElementById(my.sought);
      if (target) {
        my.sought = "";
        target.scrollIntoView();
      }
    }, [near, status, drawn, edition]);

    const height = px(props.height);
    const attributes = {
      id: props.id,
      ref: element,
      className: named("flash-lazy", props),
      style: {
        width: px(props.width),
        minHeight: height || (drawn ? "" : px(my.kept || (props.placeholder ? 1 : 100))),
        "--flash-lazy-height": height,
        ...props.style
      },
      "data-status": status,
      "aria-busy": status === "loading" || (status === "idle" && when !== "click")
    };
    if (!drawn) {
      // Else the focus would pass over what is inside.
      const byHand = when === "click";
      const open = (event) => {
        if (event.key && event.key !== "Enter" && event.key !== " ") return;
        if (event.key) event.preventDefault();
        my.want(true);
      };
      Object.assign(attributes, {
        tabIndex: 0,
        role: byHand ? "button" : "group",
        "aria-label": byHand ? "Load" : "Not loaded yet",
        onClick: byHand ? open : undefined,
        onKeyDown: byHand ? open : undefined,
        onFocus() {
          my.focused = true;
          if (!byHand) my.want(true);
        }
      });
    } else if (my.focused) {
      // Keeps the focus here: the next Tab goes inside.
      attributes.tabIndex = -1;
    }
    Object.keys(props).forEach((name) => {
      if (/^(data|aria)-/.test(name)) attributes[name] = props[name];
    });

    const failed = status === "error";
    return h(
      "div",
      attributes,
      drawn ? props.children : failed || props.placeholder,
      failed &&
        h(
          "div",
          { className: "flash-lazy-error", role: "alert" },
          !answered && h("p", null, "This part could not be loaded."),
          h(
            "button",
            { type: "button", className: "flash-lazy-retry", onClick: my.ask },
            "Try again"
          )
        )
    );
  };

  const Skeleton = (props) =>
    h("div", {
      id: props.id,
      className: named("flash-skeleton", props),
      style: { height: px(props.height), width: px(props.width), ...props.style },
      "aria-hidden": true
    });

  const unsettled = () => {
    const open = Array.from(mounted).filter((panel) => !panel.settled);
    open.forEach((panel) => panel.want(true));
    return open.length;
  };
  const loadAll = () => {
    flush(unsettled);
    return new Promise((resolve) => {
      // Panels may bring panels; two frames are for graphs to draw.
      const look = () =>
        unsettled()
          ? setTimeout(look, 50)
          : requestAnimationFrame(() => requestAnimationFrame(resolve));
      look();
    });
  };
  const print = window.print.bind(window);
  window.print = () => (unsettled() ? loadAll().then(print) : print());
  window.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "p" && unsettled()) {
      event.preventDefault();
      window.print();
    }
  });
  // From the browser's menu: no time to wait, but what the page has is drawn.
  window.addEventListener("beforeprint", loadAll);

  window.flash_lazy = { LazyLoad, LazyPanel: LazyLoad, Skeleton, loadAll };
})();
