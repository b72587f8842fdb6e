/*
 * The page's side of callback requests while the server is away.
 *
 * A classic script without a build step, which runs before Dash's renderer. It passes the requests of
 * callbacks on to the browser's fetch. One that gets no answer, or 502, 503 or 504, is sent again until
 * the server is back, with the values it had; a newer request of the same callback replaces it. The
 * components that it would have updated are marked meanwhile. A request that a click caused is not sent
 * again, since the server may have done what it asks for, unless its callback has repeat=True.
 *
 * window.flash.requests
 *   drop(isMine)     end the requests for which isMine([{id, property}, ...]) is true, without an answer
 *   statistics()     counts of what waits and what was sent again
 */
(function () {
    'use strict';

    // Milliseconds: between two attempts, and over which requests are spread when the server is back.
    const FIRST_WAIT = 1000;
    const LONGEST_WAIT = 15000;
    const SPREAD = 1000;
    const LOOK_EVERY = 300;
    // Requests that wait; further ones fail as before.
    const MAX_HELD = 1000;
    const AWAY = [502, 503, 504];
    const CLICK = /(^|_)(n_clicks|n_submit)(_timestamp)?$/;
    const STALE = 'flash-stale';
    // Without weight (":where"), so that every rule of an app replaces it. The notice is for screen
    // readers alone.
    const STYLE = `
        :where(.flash-stale) { opacity: .55; outline: 2px dashed rgba(200, 120, 0, .8);
            outline-offset: 2px; }
        .flash-stale-notice { position: absolute; width: 1px; height: 1px; margin: -1px;
            overflow: hidden; clip-path: inset(50%); white-space: nowrap; }`;

    const flash = (window.flash = window.flash || {});
    if (flash.requests || !document.getElementById('_dash-config')) {
        return;
    }

    const send = window.fetch.bind(window);
    const counts = { repeated: 0, superseded: 0 };
    // Requests that are on their way or wait, oldest first; those of them that wait.
    const running = new Set();
    const held = new Set();
    let wait = FIRST_WAIT;
    let timer = 0;

    window.fetch = function (resource, options) {
        const isCallback =
            typeof resource === 'string' &&
            /\/_dash-update-component(\?|$)/.test(resource) &&
            options &&
            typeof options.body === 'string' &&
            !options.signal;
        if (!isCallback) {
            return send(resource, options);
        }
        return new Promise((resolve, reject) => {
            const request = new Request_(resource, options, resolve, reject);
            running.add(request);
            if (held.size) {
                Array.from(held)
                    .filter((older) => older.key === request.key)
                    .forEach((older) => older.supersede());
            }
            request.attempt();
        });
    };

    /** One request of a callback, with all its attempts. */
    class Request_ {
        constructor(url, options, resolve, reject) {
            Object.assign(this, { url, options, resolve, reject, notBefore: 0, parsed: null, begun: new Date() });
        }

        /** The request's JSON; parsed only if something has failed. */
        get body() {
            this.parsed = this.parsed || JSON.parse(this.options.body);
            return this.parsed;
        }

        /** [{id, property}] */
        get outputs() {
            return [this.body.outputs || []].flat(2).filter((output) => output && output.id !== undefined);
        }

        /** What a newer request must have in common to replace this one. */
        get key() {
            const inputs = [this.body.inputs || []].flat(2).map((input) => [input.id, input.property]);
            return JSON.stringify([this.body.output, this.outputs, inputs]);
        }

        get mayRepeat() {
            // flash.js sends the query in a header.
            const query = new Headers(this.options.headers).get('Flash-Call') || this.url;
            if (/(^|[?&])job=/.test(query)) {
                return true; // it asks for the result of a job
            }
            const { output, changedPropIds } = this.body;
            const asked = repeatOf(output);
            const isClick = (name) => CLICK.test(name.slice(name.lastIndexOf('.') + 1));
            return asked === undefined ? !(changedPropIds || []).some(isClick) : asked;
        }

        attempt() {
            held.delete(this);
            this.controller = new AbortController();
            send(this.url, Object.assign({}, this.options, { signal: this.controller.signal })).then(
                (response) => this.answered(response),
                (error) => this.fail(() => this.reject(error), 0)
            );
        }

        answered(response) {
            if (!running.has(this)) {
                return;
            }
            // The server itself says that a callback took too long: no second attempt helps.
            if (AWAY.includes(response.status) && !response.headers.has('Flash-Timeout')) {
                this.fail(() => this.resolve(response), Number(response.headers.get('Retry-After')) || 0);
                return;
            }
            running.delete(this);
            if (response.ok && stale.size) {
                unmark(this.outputs);
            }
            this.resolve(response);
            serverIsBack();
        }

        fail(giveUp, retryAfter) {
            if (!running.has(this)) {
                return;
            }
            const all = Array.from(running);
            if (all.slice(all.indexOf(this) + 1).some((newer) => newer.key === this.key)) {
                this.supersede();
                return;
            }
            mark(this.outputs);
            if (!this.mayRepeat || held.size >= MAX_HELD) {
                running.delete(this);
                giveUp();
                return;
            }
            this.notBefore = Date.now() + retryAfter * 1000;
            held.add(this);
            schedule();
        }

        supersede() {
            counts.superseded += 1;
            this.end();
        }

        /** End without an answer: Dash updates nothing. */
        end() {
            held.delete(this);
            if (running.delete(this)) {
                this.controller.abort();
                this.resolve(new Response(null, { status: 204 }));
            }
        }
    }

    /** repeat= of a callback; undefined where it has none. */
    function repeatOf(output) {
        for (const store of window.dash_stores || []) {
            const { content } = store.getState().dependenciesRequest || {};
            const found = (Array.isArray(content) ? content : []).find((each) => each.output === output);
            if (found) {
                return found.flash_repeat;
            }
        }
        return undefined;
    }

    // -- When to send again ------------------------------------------------------------------------

    function schedule() {
        if (!timer && held.size) {
            timer = setTimeout(probe, wait * (0.5 + Math.random()));
            wait = Math.min(2 * wait, LONGEST_WAIT);
        }
    }

    /** Send the newest request; the others follow when it gets an answer. */
    function probe() {
        timer = 0;
        const ready = Array.from(held).filter((request) => request.notBefore <= Date.now());
        if (ready.length) {
            repeat(ready[ready.length - 1]);
        } else {
            schedule();
        }
    }

    function repeat(request) {
        if (held.has(request)) {
            counts.repeated += 1;
            request.attempt();
        }
    }

    function serverIsBack() {
        wait = FIRST_WAIT;
        held.forEach((request) => {
            const due = Math.max(0, request.notBefore - Date.now()) + SPREAD * Math.random();
            setTimeout(repeat, due, request);
        });
    }

    /** Try soon, as the browser or the live link has reason to; at another moment in each page. */
    function trySoon() {
        if (held.size) {
            clearTimeout(timer);
            wait = FIRST_WAIT;
            timer = setTimeout(probe, SPREAD * Math.random());
        }
    }

    // -- What is not up to date --------------------------------------------------------------------

    // DOM id → {id, properties: a set}
    const stale = new Map();
    let looking = 0;
    let notice = null;

    const domId = (id) => (typeof id === 'object' ? JSON.stringify(id, Object.keys(id).sort()) : id);

    function mark(outputs) {
        outputs.forEach(({ id, property }) => {
            const entry = stale.get(domId(id)) || { id, properties: new Set() };
            entry.properties.add(property.split('@')[0]);
            stale.set(domId(id), entry);
        });
        if (stale.size && !looking) {
            looking = setInterval(look, LOOK_EVERY);
        }
        look();
    }

    function unmark(outputs) {
        outputs.forEach(({ id, property }) => {
            const entry = stale.get(domId(id));
            if (entry) {
                entry.properties.delete(property.split('@')[0]);
                if (!entry.properties.size) {
                    forget(domId(id));
                }
            }
        });
        look();
    }

    function forget(key) {
        stale.delete(key);
        const element = document.getElementById(key);
        if (element) {
            element.classList.remove(STALE);
            element.removeAttribute('data-flash-stale');
        }
    }

    function isOnPage(id) {
        try {
            // For an unknown id it throws or returns the whole layout.
            const component = window.dash_component_api.getLayout(id);
            return Boolean(component && component.props && domId(component.props.id) === domId(id));
        } catch (_) {
            return false;
        }
    }

    /** Mark elements, which React may have drawn anew, and end what concerns no component any more. */
    function look() {
        held.forEach((request) => {
            if (request.outputs.length && !request.outputs.some((output) => isOnPage(output.id))) {
                request.end();
            }
        });
        let marked = 0;
        stale.forEach(({ id }, key) => {
            if (!isOnPage(id)) {
                forget(key);
                return;
            }
            const element = document.getElementById(key);
            if (element) {
                marked += 1;
                if (!element.classList.contains(STALE)) {
                    element.classList.add(STALE);
                }
                if (!element.hasAttribute('data-flash-stale')) {
                    element.setAttribute('data-flash-stale', 'true');
                }
            }
        });
        announce(marked);
        if (!stale.size) {
            clearInterval(looking);
            looking = 0;
        }
    }

    /** Add the style of marks: with the first mark, since most pages never need it. */
    function addStyle() {
        try {
            // A sheet that a script makes needs no permission of a policy for styles.
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(STYLE);
            document.adoptedStyleSheets = Array.from(document.adoptedStyleSheets).concat(sheet);
        } catch (_) {
            const element = document.createElement('style');
            element.textContent = STYLE;
            document.head.append(element);
        }
    }

    function announce(marked) {
        if (!notice && marked) {
            addStyle();
            notice = document.createElement('div');
            notice.className = 'flash-stale-notice';
            notice.setAttribute('role', 'status');
            document.body.appendChild(notice);
        }
        if (notice) {
            const text = marked
                ? 'The server does not answer. Parts of this page are not up to date.'
                : 'The page is up to date again.';
            if ((marked || notice.textContent) && notice.textContent !== text) {
                notice.textContent = text;
            }
        }
    }

    // -- Set-up ------------------------------------------------------------------------------------

    flash.requests = {
        drop: (isMine) => Array.from(running).forEach((each) => isMine(each.outputs) && each.end()),
        statistics: () => Object.assign({ running: running.size, held: held.size, stale: stale.size }, counts),
    };
    // For the developer's panel, which is there in debug mode only.
    flash.inspect = flash.inspect || {};
    flash.inspect.Requests = () => ({
        facts: {
            'without an answer': running.size,
            'wait for the server': held.size,
            'sent again': counts.repeated,
            superseded: counts.superseded,
            'components not up to date': stale.size,
        },
        rows: Array.from(running).map((request) => ({
            callback: request.body.output,
            by: (request.body.changedPropIds || []).join(', '),
            begun: request.begun,
            status: held.has(request) ? 'waiting' : 'sent',
        })),
        empty: 'No callback is being asked for.',
    });
    window.addEventListener('online', trySoon);
    // The script of the live link, if there is one, runs after this one.
    document.addEventListener('DOMContentLoaded', () => {
        if (flash.link) {
            flash.link.onStatus(({ status }) => status === 'open' && trySoon());
        }
    });
})();
