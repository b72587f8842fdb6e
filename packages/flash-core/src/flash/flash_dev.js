/*
 * The developer's panel: what this page is connected to, what its components got, and from where.
 *
 * A classic script without a build step, in pages with Dash's developer tools only. While the panel is
 * closed, nothing is read, recorded or asked for. The panel knows nothing of the other scripts:
 *
 * window.flash
 *   inspect    {name of a section: function that returns {facts, rows, empty, badge}}; scripts add theirs.
 *              facts: {name: value}; rows: [{heading: value}]; empty: text without rows; badge: beside the
 *              name, by default the number of rows. A value may be a Date, of which the age is shown, or a
 *              function, which becomes a button.
 *   watch      null, or while the panel is open: watch(id, origin) is called before properties of a
 *              component are set with set_props; watch(id, origin, props) if it is not on the page
 *   origins    functions that name a callback of Dash's renderer: fn(callback) returns a text, or undefined
 * window.flash_dev.PanelButton    the button among Dash's developer tools
 */
(function () {
    'use strict';

    // Updates that are kept; a further one replaces the oldest.
    const MAX_UPDATES = 200;
    // Rows of a table that are shown.
    const MAX_ROWS = 200;
    // Characters of a value that are shown, and members of a list or an object.
    const MAX_TEXT = 160;
    const MAX_MEMBERS = 5;
    // Milliseconds.
    const DRAW_EVERY = 1000;
    const DRAW_UPDATES_EVERY = 250;
    const ASK_EVERY = 2000;
    // Sections in this order, then others.
    const ORDER = ['Updates', 'Link', 'Subscriptions', 'Shared values', 'Tables', 'Event callbacks'];
    const LAST = ['Requests', 'Server'];
    const TONES = {
        good: ['open', 'subscribed', 'loaded', 'shared', 'running'],
        busy: ['connecting', 'reconnecting', 'pending', 'loading', 'waiting', 'unanswered', 'sent'],
        bad: ['offline', 'denied', 'error', 'failed'],
    };
    // Whether the panel is open is remembered for reloads of this tab.
    const OPEN = 'flash-panel-open';

    const flash = (window.flash = window.flash || {});
    const React = window.React;
    if (window.flash_dev || !React) {
        return;
    }
    const inspect = (flash.inspect = flash.inspect || {});
    flash.watch = null;

    // -- Values as text ----------------------------------------------------------------------------

    const cut = (text) => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);

    /** Return a short text of a value of any size; reads only the beginning of it. */
    function preview(value, depth) {
        const inner = (each) => preview(each, (depth || 0) + 1);
        if (typeof value === 'string') {
            return JSON.stringify(cut(value));
        }
        if (typeof value !== 'object' || value === null) {
            return String(value);
        }
        if (Array.isArray(value)) {
            const more = value.length > MAX_MEMBERS ? `, … ${value.length} in all` : '';
            return depth > 2 ? `[… ${value.length}]` : cut(`[${value.slice(0, MAX_MEMBERS).map(inner).join(', ')}${more}]`);
        }
        if (value.type && value.namespace && value.props) {
            const { id, children } = value.props;
            const what = id === undefined ? children : id;
            return cut(`${value.type}(${what === undefined || depth > 2 ? '' : inner(what)})`);
        }
        if (value.__dash_patch_update) {
            return `Patch(${value.operations ? value.operations.length : ''})`;
        }
        const names = Object.keys(value);
        if (depth > 2) {
            return names.length ? `{… ${names.length}}` : '{}';
        }
        const members = names.slice(0, MAX_MEMBERS).map((name) => `${name}: ${inner(value[name])}`);
        return cut(`{${members.join(', ')}${names.length > MAX_MEMBERS ? ', …' : ''}}`);
    }

    /** Return how long ago a moment was. */
    function age(moment) {
        const seconds = Math.max(0, (Date.now() - moment) / 1000);
        const shown = seconds < 120 ? `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
        return `${shown} ago`;
    }

    /** Return the text of a fact or a cell. */
    function textOf(value) {
        if (value === null || value === undefined || value === '') {
            return '–';
        }
        if (typeof value === 'boolean') {
            return value ? 'yes' : 'no';
        }
        if (value instanceof Date) {
            return age(value);
        }
        if (typeof value === 'number') {
            return value.toLocaleString('en');
        }
        return typeof value === 'string' ? value : preview(value);
    }

    const idText = (id) => (typeof id === 'object' && id ? JSON.stringify(id, Object.keys(id).sort()) : String(id));

    // -- What components get -----------------------------------------------------------------------

    let updates = []; // [{at, component, values, from}], the newest first
    let unsubscribe = [];
    // What the next set_props is from: {id, origin}.
    let next = null;

    function record(component, props, from) {
        const values = Object.keys(props).map((name) => `${name} = ${preview(props[name])}`);
        updates.unshift({ at: new Date(), component, values: values.join('\n'), from });
        if (updates.length > MAX_UPDATES) {
            updates.pop();
        }
        drawUpdatesSoon();
    }

    function startRecording() {
        flash.watch = (id, origin, absent) => {
            if (absent) {
                record(idText(id), absent, `${origin}; waits, since the component is not on the page`);
            } else {
                next = { id: idText(id), origin };
            }
        };
        unsubscribe = (window.dash_stores || []).map((store) => {
            // The renderer counts there how often each component was updated, with what and by what.
            let before = store.getState().layoutHashes || {};
            return store.subscribe(() => {
                const state = store.getState();
                const now = state.layoutHashes || {};
                if (now !== before) {
                    const changed = Object.keys(now).filter((path) => now[path] !== before[path]);
                    before = now;
                    changed.forEach((path) => noteChange(state, path, now[path]));
                }
            });
        });
    }

    function stopRecording() {
        flash.watch = null;
        next = null;
        unsubscribe.splice(0).forEach((end) => end());
    }

    function noteChange(state, path, { changedProps, renderType }) {
        const component = path.split(',').reduce((node, key) => (node ? node[key] : node), state.layout);
        if (!component || !component.props || component.namespace === 'flash_dev') {
            return;
        }
        const { id } = component.props;
        const name = id === undefined ? `${component.type} without id` : idText(id);
        record(name, changedProps || {}, originOf(state, name, Object.keys(changedProps || {}), renderType));
    }

    /** Return what has changed properties of a component. */
    function originOf(state, id, names, renderType) {
        if (renderType === 'clientsideApi') {
            const named = next && next.id === id ? next.origin : 'set_props in JavaScript';
            next = null;
            return named;
        }
        if (renderType === 'internal') {
            return 'the user or the component';
        }
        if (renderType === 'websocket') {
            return "set_props over Dash's WebSocket";
        }
        const ended = ((state.callbacks || {}).executed || []).find(({ executionResult }) => {
            const data = (executionResult || {}).data || {};
            return Object.keys(data).some(
                (each) => sameId(each, id) && names.some((name) => data[each] && name in data[each])
            );
        });
        if (ended) {
            return nameOf(ended);
        }
        return renderType === 'callback' ? 'a callback that runs (running, progress or set_props)' : 'Dash';
    }

    function sameId(text, id) {
        try {
            return text === id || (text.startsWith('{') && idText(JSON.parse(text)) === id);
        } catch (_) {
            return false;
        }
    }

    function nameOf({ callback, changedPropIds }) {
        const named = (flash.origins || []).map((name) => name(callback)).find(Boolean);
        if (named) {
            return named;
        }
        const kind = callback.clientside_function ? 'clientside callback' : 'callback';
        const outputs = callback.output.replace(/^\.\.|\.\.$/g, '').split('...').map((each) => each.split('@')[0]);
        const triggers = Object.keys(changedPropIds || {});
        return `${kind} of ${cut(outputs.join(', '))}${triggers.length ? `, by ${cut(triggers.join(', '))}` : ''}`;
    }

    // -- What the server says ----------------------------------------------------------------------

    let told = {}; // {section: {facts, rows}}
    let askedAt = 0;
    // One question at a time: over HTTP/1.1 a browser has six connections, which the page needs itself
    // where a server is slow.
    let isAsking = false;

    async function ask() {
        askedAt = Date.now();
        isAsking = true;
        try {
            const config = JSON.parse(document.getElementById('_dash-config').textContent);
            const response = await fetch(`${config.requests_pathname_prefix || '/'}_flash/panel`, {
                headers: config.end_id ? { 'Flash-Page': config.end_id } : {},
                cache: 'no-store',
            });
            if (!response.ok) {
                throw new Error(`it answers with ${response.status}`);
            }
            told = await response.json();
        } catch (error) {
            told = { Server: { facts: { 'no answer': error.message }, rows: [] } };
        } finally {
            isAsking = false;
        }
    }

    // -- The panel ---------------------------------------------------------------------------------
    // In a shadow root, so that style sheets of the app do not change it.

    const STYLE = `
        :host { --back: #fff; --text: #1b1f24; --pale: #57606a; --line: #d5d9de; --soft: #f4f2fb; --accent: #6a35b5;
            --good: #1a7f37; --busy: #9a6700; --bad: #cf222e; position: fixed; right: 12px; bottom: 68px; z-index: 9999;
            width: min(58rem, calc(100vw - 24px)); height: min(32rem, calc(100vh - 84px)); color-scheme: light dark; }
        * { box-sizing: border-box; }
        .panel { display: grid; grid-template: auto 1fr / 11.5rem 1fr; width: 100%; height: 100%; overflow: hidden;
            border: 1px solid var(--line); border-radius: 8px; background: var(--back); color: var(--text);
            font: 13px/1.45 system-ui, sans-serif; text-align: left; box-shadow: 0 8px 28px rgba(0, 0, 0, .22); }
        header { grid-column: 1 / -1; display: flex; align-items: center; gap: 8px; padding: 6px 6px 6px 14px;
            border-bottom: 1px solid var(--line); }
        h2 { flex: 1; margin: 0; font-size: 14px; font-weight: 650; }
        button, input { font: inherit; color: inherit; }
        button { border: 0; border-radius: 5px; background: transparent; cursor: pointer; }
        button:hover { background: var(--soft); }
        :focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
        .close { width: 30px; height: 30px; padding: 0; font-size: 19px; line-height: 1; }
        [role=tablist] { display: flex; flex-direction: column; gap: 2px; padding: 8px; overflow: auto;
            border-right: 1px solid var(--line); }
        [role=tab] { display: flex; flex: none; align-items: baseline; gap: 8px; padding: 5px 9px; text-align: left;
            white-space: nowrap; }
        [role=tab] span:first-child { flex: 1; }
        [role=tab][aria-selected=true] { background: var(--soft); color: var(--accent); font-weight: 600; }
        .badge { color: var(--pale); font-size: 12px; font-weight: 400; font-variant-numeric: tabular-nums; }
        [role=tabpanel] { min-width: 0; overflow: auto; padding: 12px 14px; }
        .tools { display: flex; gap: 8px; margin-bottom: 10px; }
        .tools[hidden] { display: none; }
        input { flex: 1; min-width: 0; padding: 4px 8px; border: 1px solid var(--pale); border-radius: 5px;
            background: var(--back); }
        .tools button, td button { padding: 3px 9px; border: 1px solid var(--line); }
        dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 8px 16px; margin: 0 0 14px; }
        dl:empty, table[hidden] { display: none; }
        dt { color: var(--pale); font-size: 12px; }
        dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
        table { width: 100%; border-collapse: collapse; }
        th { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); color: var(--pale); font-size: 12px;
            font-weight: 500; text-align: left; vertical-align: bottom; }
        td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top;
            overflow-wrap: anywhere; white-space: pre-wrap; font-variant-numeric: tabular-nums; }
        td.code { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
        td.tight { overflow-wrap: normal; white-space: nowrap; }
        p { margin: 0; color: var(--pale); }
        p:empty { display: none; }
        table + p { margin-top: 8px; }
        [data-tone]::before { content: ''; display: inline-block; width: 8px; height: 8px; margin-right: 6px;
            border-radius: 50%; background: var(--pale); }
        [data-tone=good]::before { background: var(--good); }
        [data-tone=busy]::before { background: var(--busy); }
        [data-tone=bad]::before { background: var(--bad); }
        @media (prefers-color-scheme: dark) {
            :host { --back: #1f2329; --text: #e8eaed; --pale: #a8b0ba; --line: #3d444d; --soft: #2d2a3d; --accent: #c3abff;
                --good: #57ab5a; --busy: #e0a63a; --bad: #ff7b72; }
        }
        @media (max-width: 700px) {
            :host { right: 0; left: 0; width: auto; height: min(30rem, calc(100vh - 120px)); }
            .panel { grid-template: auto auto 1fr / minmax(0, 1fr); border-radius: 8px 8px 0 0; }
            [role=tablist] { flex-direction: row; padding: 6px 8px; border-right: 0; scrollbar-width: none;
                border-bottom: 1px solid var(--line); }
            [role=tabpanel] { padding: 10px; }
            th, td { padding-right: 6px; }
            dl { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
            table.cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
            table.cards, table.cards tbody, table.cards tr, table.cards td { display: block; }
            table.cards tr { padding: 6px 0; border-bottom: 1px solid var(--line); }
            table.cards td { padding: 0; border: 0; }
            table.cards td.tight { color: var(--pale); font-size: 12px; }
        }
        @media print { :host { display: none; } }`;
    const BUTTON_STYLE = `
        #flash-panel-button:focus-visible { outline: 2px solid #7f4bc4; }
        #flash-panel-button svg { color: #9ca3af; }
        #flash-panel-button:hover svg { color: #5806c4; }`;

    /** Apply a style sheet that a script makes: it needs no permission of a policy for styles. */
    function adopt(root, text) {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(text);
        root.adoptedStyleSheets = Array.from(root.adoptedStyleSheets).concat(sheet);
    }

    /** Return a new element; a text among the children is never taken for HTML. */
    function element(name, attributes, ...children) {
        const made = document.createElement(name);
        Object.keys(attributes || {}).forEach((each) => made.setAttribute(each, attributes[each]));
        made.append(...children);
        return made;
    }

    let host = null; // the element of the panel; null while it is closed
    let parts = {}; // its elements by name
    let selected = 'Updates';
    let filter = '';
    let timer = 0;
    let updatesTimer = 0;
    let tellButton = () => {};

    const isOpen = () => host !== null;

    function open(takesFocus) {
        if (isOpen()) {
            return;
        }
        host = element('div', { id: 'flash-panel' });
        const root = host.attachShadow({ mode: 'open' });
        adopt(root, STYLE);
        parts = {
            tabs: element('div', { role: 'tablist', 'aria-label': 'Sections', 'aria-orientation': 'vertical' }),
            body: element('div', { role: 'tabpanel', id: 'body', tabindex: '0' }),
            filter: element('input', { type: 'search', placeholder: 'Component id', 'aria-label': 'Filter by component id' }),
            clear: element('button', { type: 'button' }, 'Clear'),
            close: element('button', { type: 'button', class: 'close', 'aria-label': 'Close' }, '×'),
            facts: element('dl'),
            table: element('table', {}, element('thead', {}, element('tr')), element('tbody')),
            note: element('p'),
        };
        parts.tools = element('div', { class: 'tools' }, parts.filter, parts.clear);
        parts.body.append(parts.tools, parts.facts, parts.table, parts.note);
        root.append(
            element(
                'section',
                { class: 'panel', role: 'dialog', 'aria-label': "Flash, developer's panel" },
                element('header', {}, element('h2', {}, 'Flash'), parts.close),
                parts.tabs,
                parts.body
            )
        );
        parts.close.onclick = close;
        parts.clear.onclick = () => {
            updates = [];
            draw();
        };
        parts.filter.value = filter;
        parts.filter.oninput = () => {
            filter = parts.filter.value;
            draw();
        };
        parts.tabs.onkeydown = moveTab;
        host.onkeydown = closeByKey;
        document.body.append(host);
        startRecording();
        remember(true);
        told = {};
        askedAt = 0;
        timer = setInterval(tick, DRAW_EVERY);
        tick();
        tellButton();
        if (takesFocus) {
            parts.tabs.querySelector('[aria-selected=true]').focus();
        }
    }

    function close() {
        const hadFocus = host.contains(document.activeElement) || document.activeElement === host;
        stopRecording();
        clearInterval(timer);
        clearTimeout(updatesTimer);
        updatesTimer = 0;
        host.remove();
        host = null;
        parts = {};
        remember(false);
        tellButton();
        const button = document.getElementById('flash-panel-button');
        if (hadFocus && button) {
            button.focus();
        }
    }

    function closeByKey(event) {
        if (event.key !== 'Escape' || !isOpen()) {
            return;
        }
        event.stopPropagation();
        if (filter && parts.filter === host.shadowRoot.activeElement) {
            event.preventDefault();
            parts.filter.value = filter = '';
            draw();
        } else {
            close();
        }
    }

    function remember(value) {
        try {
            sessionStorage.setItem(OPEN, value ? 'yes' : '');
        } catch (_) {
            // Without storage the panel is closed after a reload.
        }
    }

    function wasOpen() {
        try {
            return sessionStorage.getItem(OPEN) === 'yes';
        } catch (_) {
            return false;
        }
    }

    // -- Drawing -----------------------------------------------------------------------------------

    function tick() {
        if (document.hidden) {
            return;
        }
        if (!isAsking && Date.now() - askedAt >= ASK_EVERY) {
            ask().then(() => isOpen() && draw());
        }
        draw();
    }

    function drawUpdatesSoon() {
        updatesTimer =
            updatesTimer ||
            setTimeout(() => {
                updatesTimer = 0;
                if (isOpen() && selected === 'Updates') {
                    draw();
                }
            }, DRAW_UPDATES_EVERY);
    }

    function updatesSection() {
        const wanted = filter.toLowerCase();
        const shown = updates.filter(({ component }) => component.toLowerCase().includes(wanted));
        return {
            badge: updates.length,
            rows: shown.map(({ at, component, values, from }) => ({
                time: `${at.toLocaleTimeString('en-GB')}.${String(at.getMilliseconds()).padStart(3, '0')}`,
                component,
                properties: values,
                from,
            })),
            empty: updates.length
                ? 'No update is of such a component.'
                : 'No component has been updated since the panel was opened.',
        };
    }

    /** Return all sections by name, in the order of their tabs. */
    function readSections() {
        const found = { Updates: updatesSection() };
        Object.keys(inspect).forEach((name) => {
            try {
                found[name] = inspect[name]();
            } catch (error) {
                found[name] = { facts: { error: String(error) } };
            }
        });
        found.Server = { facts: {}, badge: '', empty: 'The server has not answered yet.' };
        Object.keys(told).forEach((name) => {
            const own = found[name] || { badge: '' };
            const { facts, rows } = told[name];
            found[name] = Object.assign({}, own, {
                facts: Object.assign({}, own.facts, facts),
                rows: (own.rows || []).concat(rows),
                empty: name === 'Server' ? '' : own.empty,
            });
        });
        const others = Object.keys(found).filter((name) => !ORDER.includes(name) && !LAST.includes(name));
        const sections = new Map();
        ORDER.concat(others, LAST).forEach((name) => found[name] && sections.set(name, found[name]));
        return sections;
    }

    function draw() {
        const hadFocus = host.shadowRoot.activeElement !== null;
        const sections = readSections();
        if (!sections.has(selected)) {
            selected = 'Updates';
        }
        drawTabs(sections);
        const { facts, rows, empty } = sections.get(selected);
        const shown = (rows || []).slice(0, MAX_ROWS);
        const more = (rows || []).length - shown.length;
        parts.tools.hidden = selected !== 'Updates';
        parts.body.setAttribute('aria-labelledby', tabId(selected));
        drawFacts(facts || {});
        drawTable(shown);
        setText(parts.note, more ? `and ${more} more` : shown.length ? '' : empty || '');
        if (hadFocus && host.shadowRoot.activeElement === null) {
            // What had it is gone, such as the button of a call that has ended.
            parts.body.focus();
        }
    }

    const tabId = (name) => `tab-${name.replace(/\W/g, '-')}`;

    function drawTabs(sections) {
        const names = Array.from(sections.keys());
        if (parts.tabs.dataset.names !== names.join()) {
            parts.tabs.dataset.names = names.join();
            parts.tabs.replaceChildren(
                ...names.map((name) => {
                    const tab = element(
                        'button',
                        { type: 'button', role: 'tab', id: tabId(name), 'aria-controls': 'body' },
                        element('span', {}, name),
                        element('span', { class: 'badge' })
                    );
                    tab.dataset.name = name;
                    tab.onclick = () => select(name);
                    return tab;
                })
            );
        }
        Array.from(parts.tabs.children).forEach((tab) => {
            const { badge, rows } = sections.get(tab.dataset.name);
            const isSelected = tab.dataset.name === selected;
            tab.setAttribute('aria-selected', String(isSelected));
            tab.tabIndex = isSelected ? 0 : -1;
            setText(tab.lastChild, String(badge === undefined ? (rows || []).length : badge));
            setTone(tab.lastChild, badge);
        });
    }

    function select(name) {
        selected = name;
        parts.body.scrollTop = 0;
        draw();
    }

    /** Select another tab with the arrow keys, Home and End. */
    function moveTab(event) {
        const tabs = Array.from(parts.tabs.children);
        const at = tabs.findIndex((tab) => tab.dataset.name === selected);
        const steps = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: -1 };
        if (event.key in steps) {
            event.preventDefault();
            const tab = tabs[(steps[event.key] + tabs.length) % tabs.length];
            select(tab.dataset.name);
            // Scrolls to it, too.
            tab.focus();
        }
    }

    function setText(where, text) {
        if (where.textContent !== text) {
            where.textContent = text;
        }
    }

    function setTone(where, value) {
        const tone = Object.keys(TONES).find((each) => TONES[each].includes(value));
        if (tone) {
            where.dataset.tone = tone;
        } else {
            delete where.dataset.tone;
        }
    }

    /** Let an element have so many children. */
    function fit(parent, count, make) {
        while (parent.children.length > count) {
            parent.lastChild.remove();
        }
        while (parent.children.length < count) {
            parent.append(make());
        }
    }

    function drawFacts(facts) {
        const names = Object.keys(facts);
        fit(parts.facts, names.length, () => element('div', {}, element('dt'), element('dd')));
        names.forEach((name, at) => {
            const { firstChild, lastChild } = parts.facts.children[at];
            setText(firstChild, name);
            setText(lastChild, textOf(facts[name]));
            setTone(lastChild, facts[name]);
        });
    }

    const TIGHT = ['time', 'status', 'begun'];
    const CODE = ['component', 'properties', 'value', 'property', 'arguments'];

    // Elements are used again, so that the focus and a selected text stay where they are.
    function drawTable(rows) {
        const headings = rows.length ? Object.keys(rows[0]) : [];
        const [head, body] = parts.table.children;
        parts.table.hidden = !rows.length;
        parts.table.className = selected === 'Updates' ? 'cards' : '';
        fit(head.firstChild, headings.length, () => element('th', { scope: 'col' }));
        headings.forEach((heading, at) => setText(head.firstChild.children[at], heading));
        fit(body, rows.length, () => element('tr'));
        rows.forEach((row, at) => {
            const line = body.children[at];
            fit(line, headings.length, () => element('td'));
            headings.forEach((heading, place) => drawCell(line.children[place], heading, row[heading], row));
        });
    }

    function drawCell(cell, heading, value, row) {
        cell.className =
            typeof value === 'number' || TIGHT.includes(heading) ? 'tight' : CODE.includes(heading) ? 'code' : '';
        if (typeof value === 'function') {
            let button = cell.querySelector('button');
            if (!button) {
                button = element('button', { type: 'button' });
                cell.replaceChildren(button);
            }
            setText(button, heading);
            button.setAttribute('aria-label', `${heading} ${textOf(row[Object.keys(row)[0]])}`);
            button.onclick = () => {
                value();
                draw();
            };
            delete cell.dataset.tone;
            return;
        }
        // With its quotation marks, a text of digits is told from a number.
        setText(cell, heading === 'value' && typeof value === 'string' ? preview(value) : textOf(value));
        setTone(cell, heading === 'status' ? value : undefined);
    }

    // -- The button --------------------------------------------------------------------------------

    function PanelButton() {
        const [, update] = React.useReducer((count) => count + 1, 0);
        React.useEffect(() => {
            tellButton = update;
            if (wasOpen()) {
                open(false);
            }
            return () => {
                tellButton = () => {};
            };
        }, []);
        const svg = { width: 16, height: 16, viewBox: '0 0 16 16', fill: 'currentColor', 'aria-hidden': true };
        return React.createElement(
            'button',
            {
                id: 'flash-panel-button',
                type: 'button',
                className: `dash-debug-menu__button ${isOpen() ? 'dash-debug-menu__button--selected' : ''}`,
                'aria-haspopup': 'dialog',
                'aria-expanded': isOpen(),
                onClick: () => (isOpen() ? close() : open(true)),
                onKeyDown: closeByKey,
            },
            React.createElement('svg', svg, React.createElement('path', { d: 'M9.5 0 2.5 9h4l-1 7 8-10h-4.5z' })),
            'Flash'
        );
    }

    adopt(document, BUTTON_STYLE);
    window.flash_dev = { PanelButton };
})();
