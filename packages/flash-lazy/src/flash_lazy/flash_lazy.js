/* flash_lazy: what LazyLoad and @lazy do in the browser. React and ReactDOM are Dash's. */
(function () {
  "use strict";
  var React = window.React;
  var h = React.createElement;
  var useEffect = React.useEffect;
  var useRef = React.useRef;
  var useState = React.useState;
  var SIDES = ["top", "right", "bottom", "left"];
  // A server that answered nothing at all is waited for this long after its request ended.
  var GRACE = 300;

  // What is mounted on the page now; printing goes through it.
  var mounted = new Set();
  var observers = new Map();
  var queue = [];

  function flush(change) {
    window.ReactDOM.flushSync(change);
  }

  function px(size) {
    return typeof size === "number" ? size + "px" : size;
  }

  function idle(run) {
    return (window.requestIdleCallback || setTimeout)(run, { timeout: 2000 });
  }

  // Panels are drawn one per task, so that the page scrolls between two of them.
  function enqueue(draw) {
    if (queue.push(draw) === 1) {
      setTimeout(next);
    }
  }

  function next() {
    try {
      flush(queue[0]);
    } finally {
      queue.shift();
      if (queue.length) {
        setTimeout(next);
      }
    }
  }

  // One IntersectionObserver serves all panels with the same margin and container.
  function observe(element, margin, selector, tell) {
    var root = (selector && (element.closest(selector) || document.querySelector(selector))) || null;
    var key = margin + selector;
    var shared = observers.get(key);
    if (!shared || shared.root !== root) {
      shared = new IntersectionObserver(
        function (entries, observer) {
          entries.forEach(function (entry) {
            var listener = observer.tell.get(entry.target);
            if (listener) {
              listener(entry.isIntersecting);
            }
          });
        },
        // The second margin is for panels in a container that scrolls itself.
        { root: root, rootMargin: margin, scrollMargin: margin }
      );
      shared.tell = new Map();
      observers.set(key, shared);
    }
    shared.tell.set(element, tell);
    shared.observe(element);
    return function () {
      shared.unobserve(element);
      shared.tell.delete(element);
      if (!shared.tell.size && observers.get(key) === shared) {
        observers.delete(key);
      }
    };
  }

  function marginOf(offset) {
    var sides = Array.isArray(offset) ? offset : [offset, offset, offset, offset];
    return SIDES.map(function (side, at) {
      return (sides[at] || 0) + "px";
    }).join(" ");
  }

  function hash() {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch (error) {
      return "";
    }
  }

  function LazyLoad(props) {
    var api = window.dash_component_api;
    var context = api.useDashContext();
    var isLoading = context.useLoading();
    var element = useRef(null);
    var my = useRef({ counted: props.answer && props.answer.n }).current;
    var remote = props.token !== undefined;
    var when = props.when || "visible";
    var request = props.request;
    var answer = props.answer;
    var nearState = useState(false);
    var near = nearState[0];
    var wantedState = useState(false);
    var wanted = wantedState[0];
    // The number of the request that ended without an answer.
    var lostState = useState(0);
    var answered = Boolean(request && answer && answer.n >= request.n);
    var filled = remote ? Boolean(answer && (answer.ok || answered)) : true;
    var drawn = wanted && filled;
    var status = "idle";
    if (remote) {
      if (request) {
        status = answered
          ? answer.ok ? "loaded" : "error"
          : lostState[0] === request.n ? "error" : "loading";
      }
    } else if (wanted) {
      status = "loaded";
    }

    my.props = props;
    my.status = status;
    my.ask = function () {
      var last = my.props.request ? my.props.request.n : 0;
      my.asked = Date.now();
      my.props.setProps({ request: { n: last + 1 } });
    };
    my.load = function () {
      if (remote && !my.asked && !answered) {
        my.ask();
      }
    };
    my.show = function () {
      my.queued = false;
      my.shown = true;
      wantedState[1](true);
    };
    my.want = function (atOnce) {
      my.load();
      if (my.shown) {
        return;
      }
      if (atOnce || remote) {
        my.show();
      } else if (!my.queued) {
        my.queued = true;
        enqueue(function () {
          if (my.queued && my.props) {
            my.show();
          }
        });
      }
    };
    my.apply = function () {
      nearState[1](my.near);
      if (my.near && when === "visible") {
        my.want();
      } else if (!my.near) {
        my.queued = false;
        if (my.props.unmount_if_invisible && my.shown && !my.printing) {
          my.kept = element.current.offsetHeight;
          my.shown = false;
          wantedState[1](false);
        }
      }
    };
    my.change = function (isNear) {
      var wait = my.props.debounce || my.props.throttle;
      my.near = isNear;
      if (my.props.debounce) {
        clearTimeout(my.timer);
        my.timer = 0;
      }
      if (!wait) {
        my.apply();
      } else if (!my.timer) {
        my.timer = setTimeout(function () {
          my.timer = 0;
          my.apply();
        }, wait);
      }
    };
    my.settled = function () {
      return my.status === "loaded" || my.status === "error";
    };

    // In the document or out of it.
    useEffect(function () {
      mounted.add(my);
      // One whose request was lost when the page drew something else in its place asks again.
      my.asked = answered || (request && context.isLoading()) ? Date.now() : 0;
      if (request && !my.asked) {
        my.ask();
      }
      function seek() {
        var id = hash();
        var inside =
          id &&
          ((my.props.anchors || []).indexOf(id) >= 0 ||
            (!remote &&
              JSON.stringify(api.getLayout(context.componentPath) || "").indexOf(
                '"id":' + JSON.stringify(id)
              ) >= 0));
        if (inside) {
          my.sought = id;
          element.current.scrollIntoView();
          my.want(true);
        }
      }
      seek();
      window.addEventListener("hashchange", seek);
      return function () {
        mounted.delete(my);
        window.removeEventListener("hashchange", seek);
        clearTimeout(my.timer);
        my.queued = false;
      };
    }, []);

    useEffect(function () {
      var alive = true;
      function later(run) {
        idle(function () {
          if (alive) {
            run();
          }
        });
      }
      if (when === "mount" || (when === "visible" && !window.IntersectionObserver)) {
        my.want();
      } else if (when === "idle") {
        later(my.want);
      }
      if (props.prefetch === "idle") {
        later(my.load);
      }
      return function () {
        alive = false;
      };
    }, [when, props.prefetch]);

    var margin = marginOf(props.offset === undefined ? 200 : props.offset);
    var done = Boolean(props.once && drawn);
    useEffect(
      function () {
        if (!done && window.IntersectionObserver) {
          return observe(element.current, margin, props.scroll_container, my.change);
        }
      },
      [margin, props.scroll_container, done]
    );

    // A request that ended without an answer: the server failed, or could not be reached.
    useEffect(
      function () {
        if (status === "loading" && remote && isLoading) {
          my.flying = request.n;
        } else if (status === "loading" && remote && my.flying === request.n) {
          var timer = setTimeout(function () {
            lostState[1](request.n);
          }, GRACE);
          return function () {
            clearTimeout(timer);
          };
        }
      },
      [isLoading, status, request && request.n]
    );

    // Refreshed while seen; one that missed its time out of view is refreshed when seen again.
    useEffect(
      function () {
        if (!remote || !props.refresh_every || !drawn || !near || status === "loading") {
          return undefined;
        }
        function refresh() {
          if (document.hidden) {
            document.addEventListener("visibilitychange", refresh, { once: true });
          } else {
            my.ask();
          }
        }
        var left = my.asked + props.refresh_every * 1000 - Date.now();
        var timer = setTimeout(refresh, Math.max(left, 0));
        return function () {
          clearTimeout(timer);
          document.removeEventListener("visibilitychange", refresh);
        };
      },
      [props.refresh_every, drawn, near, status, answer && answer.n]
    );

    // What callbacks can read.
    var edition = remote ? (answer ? answer.n : 0) : drawn;
    useEffect(
      function () {
        var news = { visible: near, status: status };
        if (status === "loaded" && drawn && my.counted !== edition) {
          my.counted = edition;
          news.load_count = (props.load_count || 0) + 1;
        } else if (!drawn && !remote) {
          my.counted = undefined;
        }
        if (status !== "idle" || near || props.status) {
          props.setProps(news);
        }
      },
      [near, status, drawn, edition]
    );

    useEffect(
      function () {
        var target = drawn && my.sought && document.getElementById(my.sought);
        if (target) {
          my.sought = undefined;
          target.scrollIntoView();
        }
      },
      [drawn, edition]
    );

    var height = px(props.height);
    var style = Object.assign({ width: px(props.width) }, props.style);
    style.minHeight =
      height || (drawn ? undefined : my.kept ? my.kept + "px" : props.placeholder ? "1px" : "100px");
    if (height) {
      style["--flash-lazy-height"] = height;
    }
    var attributes = {
      id: props.id,
      ref: element,
      className: "flash-lazy" + (props.class_name ? " " + props.class_name : ""),
      style: style,
      "data-status": status,
      "aria-busy": status === "loading" || (when !== "click" && status === "idle")
    };
    Object.keys(props).forEach(function (name) {
      if (/^(data|aria)-/.test(name)) {
        attributes[name] = props[name];
      }
    });
    if (!drawn) {
      // Reached with the keyboard it loads, else the focus would pass over what is inside.
      attributes.tabIndex = 0;
      attributes.role = when === "click" ? "button" : "group";
      attributes["aria-label"] = when === "click" ? "Load" : "Not loaded yet";
      attributes.onFocus = function () {
        my.focused = true;
        if (when !== "click") {
          my.want(true);
        }
      };
      if (when === "click") {
        attributes.onClick = function () {
          my.want(true);
        };
        attributes.onKeyDown = function (event) {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            my.want(true);
          }
        };
      }
    } else if (my.focused) {
      // Keeps the focus where it is: the next Tab goes to what has been loaded.
      attributes.tabIndex = -1;
    }

    var lost = status === "error" && !answered;
    var retry =
      status === "error" &&
      h(
        "div",
        { className: "flash-lazy-error", role: "alert", key: "error" },
        lost && h("p", null, "This part could not be loaded."),
        h(
          "button",
          {
            type: "button",
            className: "flash-lazy-retry",
            onClick: my.ask
          },
          "Try again"
        )
      );
    var content = drawn ? props.children : !lost && props.placeholder;
    return h("div", attributes, content, retry);
  }

  function Skeleton(props) {
    return h("div", {
      id: props.id,
      className: "flash-skeleton" + (props.class_name ? " " + props.class_name : ""),
      style: Object.assign({ height: px(props.height), width: px(props.width) }, props.style),
      "aria-hidden": true
    });
  }

  // Printing: everything is loaded first.
  function unsettled() {
    return Array.from(mounted).filter(function (panel) {
      return !panel.settled() || !panel.shown;
    });
  }

  function loadAll() {
    flush(function () {
      mounted.forEach(function (panel) {
        panel.printing = true;
        panel.want(true);
      });
    });
    return new Promise(function (resolve) {
      (function look() {
        // Panels within panels appear as their parents load.
        var open = unsettled();
        open.forEach(function (panel) {
          panel.printing = true;
          panel.want(true);
        });
        if (open.length) {
          setTimeout(look, 50);
        } else {
          // Two frames, for graphs to draw.
          requestAnimationFrame(function () {
            requestAnimationFrame(resolve);
          });
        }
      })();
    });
  }

  var print = window.print.bind(window);
  window.print = function () {
    if (unsettled().length) {
      loadAll().then(print);
    } else {
      print();
    }
  };
  window.addEventListener("keydown", function (event) {
    if ((event.ctrlKey || event.metaKey) && event.key === "p" && unsettled().length) {
      event.preventDefault();
      window.print();
    }
  });
  // From the browser's menu there is no time to wait: what is on the page already is drawn.
  window.addEventListener("beforeprint", loadAll);
  window.addEventListener("afterprint", function () {
    mounted.forEach(function (panel) {
      panel.printing = false;
    });
  });

  window.flash_lazy = { LazyLoad: LazyLoad, LazyPanel: LazyLoad, Skeleton: Skeleton, loadAll: loadAll };
})();
