/**
 * flash-core in the browser: sends what identifies a page and its background jobs in a header, and
 * says when what a page sends is too large for the server.
 *
 * Dash's renderer puts the identity and the handles of jobs into the URL of each request, and URLs
 * stand in the logs of servers and proxies.
 *
 * Dash's renderer shows nothing of a refusal outside of its developer tools: an upload would just
 * not end. `flash:too-large` is dispatched at the document, with the bytes sent and allowed; an app
 * that calls `preventDefault` shows it in its own way.
 */
(() => {
    const send = window.fetch;
    const callback = /^([^?#]*\/_dash-update-component)(?:\?([^#]*))?$/;

    function megabytes(bytes) {
        return bytes >= 1e5 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(1)} kB`;
    }

    function show(text) {
        for (const earlier of document.querySelectorAll('.flash-too-large')) earlier.remove();
        const notice = document.createElement('div');
        notice.className = 'flash-too-large';
        notice.setAttribute('role', 'alert');
        notice.style.cssText =
            'position:fixed;left:50%;bottom:24px;transform:translateX(-50%);z-index:10000;' +
            'max-width:90vw;padding:12px 16px;border-radius:6px;background:#7f1d1d;color:#fff;' +
            'font:14px/1.4 system-ui,sans-serif;cursor:pointer';
        notice.textContent = text;
        notice.onclick = () => notice.remove();
        document.body.appendChild(notice);
        setTimeout(() => notice.remove(), 30000);
    }

    async function report(response, options) {
        const bytes = options && typeof options.body === 'string' ? options.body.length : 0;
        // A proxy that refuses it says nothing of its limit.
        const named = /longer than the (\d+) bytes/.exec(await response.clone().text().catch(() => ''));
        const limit = named ? Number(named[1]) : null;
        const detail = { bytes, limit };
        let text = `Too large to be sent: ${megabytes(bytes)}`;
        if (limit !== null) text += `, and at most ${megabytes(limit)} are allowed`;
        text += '. A file needs a third more than its size.';
        console.error(text);
        const event = new CustomEvent('flash:too-large', { cancelable: true, detail });
        if (document.dispatchEvent(event)) show(text);
    }

    function sendWithHeader(resource, options) {
        const [, path, query] = callback.exec(resource);
        if (!query || new URL(path, location.href).origin !== location.origin) {
            return send.call(window, resource, options);
        }
        const headers = new Headers(options && options.headers);
        headers.set('Flash-Call', query);
        return send.call(window, path, Object.assign({}, options, { headers }));
    }

    window.fetch = async function (resource, options) {
        if (typeof resource !== 'string' || !callback.test(resource)) {
            return send.apply(this, arguments);
        }
        const response = await sendWithHeader(resource, options);
        if (response.status === 413) {
            report(response, options);
        }
        return response;
    };
})();
