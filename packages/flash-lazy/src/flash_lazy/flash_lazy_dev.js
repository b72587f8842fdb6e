/* What the developer's panel shows of lazy panels; in pages with Dash's developer tools only. */
(() => {
  const flash = (window.flash = window.flash || {});
  flash.inspect = flash.inspect || {};
  flash.origins = flash.origins || [];

  // A token is the signature, and in base64 the loader's name and its arguments.
  const called = ({ token }) => {
    try {
      const bytes = atob(token.slice(43).replace(/-/g, "+").replace(/_/g, "/"));
      return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (each) => each.charCodeAt())));
    } catch (_) {
      return ["", ""];
    }
  };

  const rests = ({ status, shown, near, props }) =>
    status === "loaded" && (!shown || (props.suspend && !near));

  flash.inspect["Lazy panels"] = () => ({
    rows: [...window.flash_lazy.mounted].map((panel) => ({
      panel: panel.remote ? called(panel.props)[0] : panel.key || "LazyLoad",
      arguments: panel.remote ? called(panel.props)[1] : "",
      status: rests(panel) ? "resting" : panel.status,
      loads: panel.props.load_count || 0,
      begun: panel.asked ? new Date(panel.asked) : null,
      milliseconds: panel.remote ? panel.took : null
    })),
    empty: "No lazy panel is on the page."
  });
  flash.origins.push(({ output }) => output.includes('"flash_lazy":') && "load of a lazy panel");
})();
