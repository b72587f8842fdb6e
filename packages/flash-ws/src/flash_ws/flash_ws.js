/*
 * The page's side of the live link; it implements docs/link-protocol.md.
 *
 * A classic script without a build step, which runs before Dash's renderer. Dash loads it for every app
 * of a process; without `flash_link` in the page's configuration it does not connect. With
 * `flash_endpoints` it makes dash-extensions' WebSocket pass on its messages one at a time.
 *
 * window.flash
 *   on(name, handler)      call handler(data) for each event; returns a function that removes it
 *   send(name, data)       send an event to the server, again until a server has handled it
 *   statistics()           counts of what came, what waits and what was dropped
 *   link.onStatus(fn)      call fn({status, latency, recovered}) now and at each change; as `on`
 *   link.call(body, fn)    start an event callback; fn({id, state, reason}) when it ends; returns its id
 *   link.stop(id)          cancel it
 * window.flash_ws.LinkStatus         the component
 * window.dash_clientside.flash_ws    each name in it starts the event callback of that name
 */
(function () {
    'use strict';

    // Events and frames to the server that may wait; beyond it the oldest are dropped and counted.
    const MAX_WAITING = 1000;
    // The same for frames and events while the link is open.
    const MAX_WAITING_OPEN = 10000;
    // Frames in one message; the server takes a few more.
    const MAX_FRAMES = 1000;
    // Milliseconds.
    const FIRST_WAIT = 500;
    const LONGEST_WAIT = 20000;
    const WELCOME_WITHIN = 10000;
    const PROBE_WITHIN = 5000;
    // Bytes that a socket may buffer. Beyond it frames wait in the outbox, where they are counted.
    const MAX_UNSENT = 1 << 20;
    // Close codes after which the page does not reconnect.
    const isFinal = (code) => code >= 4400 && code <= 4499;
    const LOST = 1006;
    const FORBIDDEN = 4403;

    const flash = (window.flash = window.flash || {});
    if (flash.link) {
        return;
    }

    const counts = {
        applied: 0, // frames of channels
        repeated: 0, // frames of channels that had been applied before
        absent: 0, // updates for components that were not on the page
        droppedUpdates: 0, // of these, updates that were dropped instead of kept
        droppedEvents: 0, // events dropped before a handler was registered
        droppedFrames: 0, // frames dropped before they could be sent
        droppedMessages: 0, // messages of WebSocket components dropped because too many waited
        droppedNotices: 0, // notices that were removed to make room for newer ones
        droppedPoints: 0, // times that points of a graph were dropped because too many waited
        connections: 0, // connections that got a welcome
        framesIn: 0, // frames received and sent, heartbeats left out of the latter
        framesOut: 0,
        charactersIn: 0, // the same, in characters
        charactersOut: 0,
    };

    /** Call a function of the app and log what it throws. */
    function run(fn, argument) {
        try {
            fn(argument);
        } catch (error) {
            console.error(error);
        }
    }

    // -- Events for the page's own scripts ---------------------------------------------------------

    const handlers = new Map();
    let events = []; // [name, data] for which there is no handler yet

    function on(name, handler) {
        const mine = (data) => handler(data); // distinct, since a function may be registered twice
        handlers.set(name, (handlers.get(name) || []).concat(mine));
        // Later, so that all handlers that a script registers get the events that have waited.
        Promise.resolve().then(() => handOut(name));
        return () => {
            const rest = (handlers.get(name) || []).filter((each) => each !== mine);
            if (rest.length) {
                handlers.set(name, rest);
            } else {
                handlers.delete(name);
            }
        };
    }

    /** Call the handlers of an event after those of all earlier events of its name. */
    function emit(name, data) {
        events.push([name, data]);
        if (handlers.has(name)) {
            handOut(name);
        } else if (events.length > MAX_WAITING) {
            events.shift();
            counts.droppedEvents += 1;
        }
    }

    function handOut(name) {
        // One at a time: a handler may remove itself, and then the other events wait for another.
        while (handlers.has(name)) {
            const at = events.findIndex((each) => each[0] === name);
            if (at < 0) {
                return;
            }
            const data = events.splice(at, 1)[0][1];
            handlers.get(name).forEach((handler) => run(handler, data));
        }
    }

    // -- What the page shows -----------------------------------------------------------------------

    let hydrated = false;

    /** Whether Dash has drawn the layout; before that there are no components to update. */
    function isHydrated() {
        const clientside = window.dash_clientside;
        const api = window.dash_component_api;
        hydrated =
            hydrated ||
            (Boolean(clientside && clientside.set_props && api && api.getLayout) &&
                document.getElementById('react-entry-point') !== null &&
                document.querySelector('._dash-loading') === null);
        return hydrated;
    }

    function whenHydrated(then) {
        if (isHydrated()) {
            then();
            return;
        }
        const observer = new MutationObserver(() => {
            if (isHydrated()) {
                observer.disconnect();
                then();
            }
        });
        observer.observe(document, { childList: true, subtree: true });
    }

    function canonical(id) {
        return typeof id === 'object' && id ? JSON.stringify(id, Object.keys(id).sort()) : id;
    }

    function isOnPage(id) {
        let component;
        try {
            // For an unknown id it throws or returns the whole layout.
            component = window.dash_component_api.getLayout(id);
        } catch (_) {
            return false;
        }
        return Boolean(component && component.props && canonical(component.props.id) === canonical(id));
    }

    // Properties whose values add data: a component has to receive each value.
    const ADDING = ['extendData', 'prependData', 'rowTransaction', 'rowTransactionAsync'];
    // "id.property" → the values of ADDING that were set since React has drawn.
    const undrawn = new Map();

    /**
     * Set properties in order. If it can, React draws once for all that one message sets. Values for
     * components that are not on the page are kept until they are, if they came on a `channel`. `from` is
     * the frame or a text, for the developer's panel.
     */
    function setProps(updates, channel, from) {
        updates.forEach(([id, props]) => {
            const isHere = isOnPage(id);
            if (flash.watch) {
                flash.watch(id, originOf(from), isHere ? null : props);
            }
            if (isHere) {
                if (config.ui) {
                    warnOfProperties(id, props);
                }
                run(() => window.dash_clientside.set_props(id, withUndrawn(canonical(id), props)));
            } else {
                counts.absent += 1;
                if (channel) {
                    keep(id, props, channel);
                }
            }
        });
    }

    // -- Components that are not on the page yet ---------------------------------------------------
    // The content of a tab or of a page comes one request later than the outer layout. So the newest
    // value of each property is kept for components that are not there, and later values that build on
    // it (patches, points) after it. Without a value before them these are kept for a short time only:
    // a layout that is made later has them already.

    // Kept values of the whole page, their characters, and values of one property that build on another.
    const MAX_KEPT = 1000;
    const MAX_KEPT_CHARACTERS = 8 << 20;
    const MAX_STEPS = 100;
    // Milliseconds.
    const STEPS_KEPT_FOR = 10000;

    // Canonical id → {id, values: [{name, value, channel, isStep, size, at}] in order}; the oldest id is
    // first.
    const kept = new Map();
    let keptCount = 0;
    let keptCharacters = 0;
    // Canonical id → {id, at: name → when a value of it was dropped, Infinity if it had a value before it}.
    const lost = new Map();
    // Ids and properties of which the console has been told.
    const warned = new Set();

    function keep(id, props, channel) {
        const key = canonical(id);
        const entry = kept.get(key) || { id, values: [] };
        if (config.ui && !kept.has(key)) {
            setTimeout(() => nameAbsent(key, channel), STEPS_KEPT_FOR);
        }
        kept.set(key, entry);
        Object.keys(props).forEach((name) => {
            const value = props[name];
            const isStep =
                ADDING.includes(name) || Boolean(value && typeof value === 'object' && value.__dash_patch_update);
            dropOldSteps(entry, name);
            const ofName = entry.values.filter((each) => each.name === name);
            if (!isStep) {
                ofName.forEach((each) => removeKept(entry, each));
                delete (lost.get(key) || { at: {} }).at[name];
            } else if (ofName.filter((each) => each.isStep).length >= MAX_STEPS) {
                // Without one of them the others are wrong.
                ofName.forEach((each) => removeKept(entry, each));
                noteLost(key, id, ofName);
            }
            const size = (JSON.stringify(value) || '').length;
            entry.values.push({ name, value, channel, isStep, size, at: performance.now() });
            keptCount += 1;
            keptCharacters += size;
        });
        while (kept.size > 1 && (keptCount > MAX_KEPT || keptCharacters > MAX_KEPT_CHARACTERS)) {
            const [oldest, { id: its, values }] = kept.entries().next().value;
            noteLost(oldest, its, values.slice());
            forgetKept(oldest);
        }
    }

    /** Drop steps that have no value before them and that a layout which is made now has. */
    function dropOldSteps(entry, name) {
        const ofName = entry.values.filter((each) => each.name === name);
        if (ofName.length && ofName[0].isStep) {
            const since = performance.now() - STEPS_KEPT_FOR;
            const old = ofName.filter(({ at }) => at < since);
            counts.droppedUpdates += old.length;
            old.forEach((each) => removeKept(entry, each));
        }
    }

    /** Note values that were dropped: it is told when their component comes, if it ever does. */
    function noteLost(key, id, values) {
        counts.droppedUpdates += values.length;
        const entry = lost.get(key) || { id, at: {} };
        lost.delete(key);
        lost.set(key, entry);
        values.forEach(({ name, isStep, at }) => {
            // A layout that is made later has steps without a value before them.
            entry.at[name] = isStep ? Math.max(entry.at[name] || 0, at) : Infinity;
        });
        if (lost.size > MAX_KEPT) {
            lost.delete(lost.keys().next().value);
        }
    }

    function warnOfLost() {
        const since = performance.now() - STEPS_KEPT_FOR;
        Array.from(lost.keys()).forEach((key) => {
            const { id, at } = lost.get(key);
            if (isOnPage(id)) {
                lost.delete(key);
                Object.keys(at)
                    .filter((name) => at[name] >= since)
                    .forEach((name) => warn(`${key}.${name}: too much waited for this component; it lacks changes`));
            }
        });
    }

    /**
     * In debug mode: name a component that has not come, unless it is one of another page of the app. If
     * the layouts of the app are not known, a channel that every page gets unasked may be for others.
     */
    function nameAbsent(key, channel) {
        if (!kept.has(key)) {
            return;
        }
        const known = config.validation_layout ? idsOf(config.validation_layout, new Set()) : null;
        if (known ? !known.has(key) : !addOn.isUnasked(channel)) {
            warn(`${key}: a push names this component, which is not on the page`);
        }
    }

    /** Add the canonical ids of all components in a layout to a set. */
    function idsOf(layout, found) {
        if (layout && typeof layout === 'object') {
            if (layout.props && layout.namespace && layout.props.id) {
                found.add(canonical(layout.props.id));
            }
            Object.keys(layout).forEach((each) => idsOf(layout[each], found));
        }
        return found;
    }

    function removeKept(entry, value) {
        entry.values.splice(entry.values.indexOf(value), 1);
        keptCount -= 1;
        keptCharacters -= value.size;
    }

    function forgetKept(key) {
        const entry = kept.get(key);
        kept.delete(key);
        entry.values.slice().forEach((value) => removeKept(entry, value));
    }

    /** Forget the kept values that came on a channel. */
    function forgetChannel(channel) {
        Array.from(kept.keys()).forEach((key) => {
            const entry = kept.get(key);
            entry.values.filter((each) => each.channel === channel).forEach((each) => removeKept(entry, each));
            if (!entry.values.length) {
                kept.delete(key);
            }
        });
    }

    /** Set the kept values of components that are on the page now. */
    function applyKept() {
        Array.from(kept.keys()).forEach((key) => {
            const { id, values } = kept.get(key);
            if (!isOnPage(id)) {
                return;
            }
            new Set(values.map(({ name }) => name)).forEach((name) => dropOldSteps(kept.get(key), name));
            const updates = values.map(({ name, value }) => [id, { [name]: value }]);
            const from = values.length ? values[values.length - 1].channel : '';
            forgetKept(key);
            setProps(updates, undefined, { c: from });
        });
        warnOfLost();
    }

    /** Look for the components of kept values whenever Dash's list of components has changed. */
    function watchComponents() {
        (window.dash_stores || []).forEach((store) => {
            let paths = store.getState().paths;
            store.subscribe(() => {
                const before = paths;
                paths = store.getState().paths;
                if ((kept.size || lost.size) && paths !== before) {
                    // Asynchronously, after React has drawn the new components.
                    setTimeout(applyKept);
                }
            });
        });
    }

    /** Write a warning once. */
    function warn(text) {
        if (!warned.has(text) && warned.size < MAX_WAITING) {
            warned.add(text);
            console.warn(`flash: ${text}`);
        }
    }

    /** In debug mode: name properties that a component does not have. */
    function warnOfProperties(id, props) {
        run(() => {
            const { type, namespace } = window.dash_component_api.getLayout(id);
            const types = ((window[namespace] || {})[type] || {}).propTypes;
            Object.keys(types ? props : {})
                .filter((name) => !(name in types) && !/^(data|aria)-/.test(name))
                .forEach((name) => warn(`${canonical(id)}: ${type} has no property ${name}`));
        });
    }

    /** Return the properties to set, joined with values that the component has not drawn yet. */
    function withUndrawn(id, given) {
        const props = Object.assign({}, given);
        const isUndrawn = (name) => undrawn.has(`${id}.${name}`);
        if (ADDING.some(isUndrawn) && Object.keys(props).some((name) => !ADDING.includes(name))) {
            // For example a figure after points: a component cannot know which of them came first.
            drawNow();
        }
        ADDING.filter((name) => name in props).forEach((name) => {
            const key = `${id}.${name}`;
            if (undrawn.has(key)) {
                const points = joined(name, undrawn.get(key), props[name]);
                if (points) {
                    props[name] = points;
                } else {
                    drawNow();
                }
            }
            if (!undrawn.size) {
                // React draws before the next message.
                Promise.resolve().then(() => undrawn.clear());
            }
            undrawn.set(key, props[name]);
        });
        return props;
    }

    function drawNow() {
        undrawn.clear();
        window.ReactDOM.flushSync(() => {});
    }

    /** Join two transactions of a grid that change rows in the same way; null if they cannot be joined. */
    function joinedRows(first, second) {
        const isPlain = (each) => {
            const names = each ? Object.keys(each) : [];
            return names.length === 1 && ['add', 'update', 'remove'].includes(names[0]) && Array.isArray(each[names[0]]);
        };
        if (!isPlain(first) || !isPlain(second)) {
            return null;
        }
        const [kind] = Object.keys(first);
        return kind in second ? { [kind]: first[kind].concat(second[kind]) } : null;
    }

    /** Join two values of a property that adds data; null if they cannot be joined. */
    function joined(name, first, second) {
        if (!name.endsWith('Data')) {
            return joinedRows(first, second);
        }
        const [points, ...where] = Array.isArray(first) ? first : [first];
        const [more, ...whereMore] = Array.isArray(second) ? second : [second];
        const keys = Object.keys(points);
        const isListed = (each) =>
            [points[each], more[each]].every((all) => Array.isArray(all) && all.every(Array.isArray));
        if (
            JSON.stringify([where, keys]) !== JSON.stringify([whereMore, Object.keys(more)]) ||
            !keys.every((each) => isListed(each) && points[each].length === more[each].length)
        ) {
            return null;
        }
        // Leave out points that plotly would drop at once.
        const most = where[1] > 0 ? where[1] : Infinity;
        const all = {};
        keys.forEach((each) => {
            all[each] = points[each].map((old, trace) =>
                name === 'extendData'
                    ? old.concat(more[each][trace]).slice(-most)
                    : more[each][trace].concat(old).slice(0, most)
            );
        });
        return [all, ...where];
    }

    // -- Channels ----------------------------------------------------------------------------------

    // {channel: [epoch, number]}: how far this page has followed each. The epoch is null until a welcome,
    // an `at` or a frame of the channel names it.
    let positions = {};
    // Frames received before the page was hydrated; the positions do not include them yet.
    let early = [];
    // Channels that begin at a position of the layout's. Their frames are dropped until the server names
    // the position in an `at`; then all frames after it come.
    const restarting = new Set();

    function restart(channel, restarts) {
        if (restarts) {
            restarting.add(channel);
            forgetChannel(channel);
        } else {
            restarting.delete(channel);
        }
    }

    /** The positions with a known epoch, which a server can use. */
    function known() {
        const at = {};
        Object.keys(positions).forEach((channel) => {
            if (positions[channel][0] !== null && !restarting.has(channel)) {
                at[channel] = positions[channel];
            }
        });
        return at;
    }

    function take(frame) {
        if (restarting.has(frame.c)) {
            return;
        }
        const [epoch, number] = positions[frame.c] || [null, 0];
        const begins = frame.e !== undefined && frame.e !== epoch;
        if (frame.t !== 'snapshot' && !begins && frame.n <= number) {
            counts.repeated += 1;
            return;
        }
        positions[frame.c] = [begins ? frame.e : epoch, frame.n];
        counts.applied += 1;
        if (config.ui) {
            applied.set(frame.c, (applied.get(frame.c) || 0) + 1);
        }
        if (frame.recovered === false) {
            // The server has lost something while this page was connected.
            setStatus({ recovered: false });
        }
        if (frame.t === 'event') {
            emit(frame.name, frame.data);
        } else if (frame.t === 'call') {
            callChanged(frame);
        } else if (frame.t === 'notice') {
            showNotice(frame);
        } else {
            (addOn.channels.get(frame.c.split(':')[0]) || applyUpdates)(frame);
        }
    }

    function applyUpdates(frame) {
        setProps(frame.u, frame.c, frame);
    }

    // Registered by scripts of add-on packages; these functions do not throw.
    const addOn = {
        channels: new Map(), // first part of a channel's name → fn(frame), instead of setting props
        frames: new Map(), // kind of unnumbered frames → fn(frame)
        welcomes: [], // fn(frame), after each welcome
        kept: new Set(), // channels whose position the page keeps for a later subscription
        isUnasked: () => false, // fn(channel): whether the page gets it without having asked for it
        // First part of a channel's name → fn(the rest of it, frame): what updates come from, in words.
        origins: new Map([
            ['all', () => 'push to everybody'],
            ['group', (name) => `push to the group ${name}`],
            ['page', () => 'push to this page'],
        ]),
    };

    // -- Event callbacks ---------------------------------------------------------------------------

    // id → {onEnd, sent: whether it was sent to a server, frame: to send again until the server reports
    // that the call runs, reset: updates to apply if the server is lost}
    const calls = new Map();
    // Not from 0: a page restored from the browser's cache has the identity of an earlier page, whose
    // calls may still run.
    let lastCall = Date.now();

    function call(body, onEnd) {
        const id = lastCall + 1;
        const frame = encode({ t: 'call', id, body });
        lastCall = id;
        calls.set(id, { onEnd, sent: false, frame, reset: [], by: body.changedPropIds, begun: new Date() });
        if (calls.size > MAX_WAITING) {
            ended(calls.keys().next().value, 'failed', 'too many calls run');
        }
        post(frame, id);
        return id;
    }

    function stop(id) {
        const running = calls.get(id);
        if (!running) {
            return;
        }
        if (running.sent) {
            post(encode({ t: 'stop', id }));
        } else {
            outbox = outbox.filter((each) => each.call !== id);
            ended(id, 'cancelled');
        }
    }

    function callChanged(frame) {
        const running = calls.get(frame.id);
        if (frame.error) {
            showError(frame.error);
        }
        if (frame.state !== 'running') {
            ended(frame.id, frame.state, frame.reason);
        } else if (running) {
            running.frame = null;
            running.reset = frame.reset || [];
            running.name = frame.name;
        }
    }

    /** Show an error of the server in the panel of Dash's developer tools, and in the console. */
    function showError(text) {
        const payload = { type: 'backEnd', error: { message: text, html: '' } };
        const stores = window.dash_stores || [];
        stores.forEach((store) => store.dispatch({ type: 'ON_ERROR', payload }));
        if (!stores.length) {
            console.error(text);
        }
    }

    function ended(id, state, reason) {
        const running = calls.get(id);
        calls.delete(id);
        if (running && running.onEnd) {
            run(running.onEnd, { id, state, reason });
        }
    }

    /** End the calls of a server that has lost them; `alive` lists those that it still runs. */
    function forgetCalls(alive) {
        calls.forEach((running, id) => {
            if (running.sent && !(alive || []).includes(id)) {
                setProps(running.reset, undefined, 'reset of an event callback that is lost');
                ended(id, 'failed', 'the server has lost it');
            }
        });
    }

    /** Send the calls again that were lost because their connection broke just after sending. */
    function repeatCalls(ids) {
        ids.forEach((id) => {
            const running = calls.get(id);
            if (running && running.frame) {
                running.sent = false;
                post(running.frame, id);
            }
        });
    }

    /** Start the event callback `name` with the context of the running clientside callback. */
    function trigger(name) {
        const context = window.dash_clientside.callback_context;
        call({
            callback: name,
            outputs: context.outputs_list,
            inputs: context.inputs_list,
            state: context.states_list,
            changedPropIds: context.triggered.map((each) => each.prop_id),
        });
        return window.dash_clientside.no_update;
    }

    // -- Frames to the server ----------------------------------------------------------------------

    let outbox = []; // {text, size, call: id of the call it starts, k: number of the event it is}
    let flushing = false;

    // Events that no server has handled yet, oldest first, as in the outbox; `sent` if a server got them.
    let unhandled = [];
    // As with calls, not from 0.
    let lastEvent = Date.now();

    const encoder = new TextEncoder();

    function encode(frame) {
        const text = JSON.stringify(frame);
        const size = encoder.encode(text).length;
        if (size + 2 > maxMessage) {
            throw new RangeError(
                `flash: a frame of ${size} bytes is more than the server takes, ${maxMessage}`
            );
        }
        return { text, size };
    }

    /** How many frames may wait: more while a server takes them, for example a burst in one task. */
    function mostWaiting() {
        return link && link.welcomed ? MAX_WAITING_OPEN : MAX_WAITING;
    }

    function send(name, data) {
        const frame = encode({ t: 'event', k: lastEvent + 1, name, data });
        frame.k = lastEvent += 1;
        unhandled.push(frame);
        if (unhandled.length > mostWaiting()) {
            const dropped = unhandled.shift();
            counts.droppedFrames += 1;
            outbox = outbox.filter((each) => each !== dropped);
        }
        enqueue(frame);
    }

    /** Put unacknowledged events of the previous connection before the frames that wait. */
    function sendAgain() {
        const sent = unhandled.filter((each) => each.sent);
        sent.forEach((each) => {
            each.sent = false;
        });
        outbox = sent.concat(outbox);
    }

    /** Remove the events up to this number, which a server has handled. */
    function handledUpTo(k) {
        while (unhandled.length && unhandled[0].k <= k) {
            unhandled.shift();
        }
    }

    function post(frame, id) {
        enqueue({ text: frame.text, size: frame.size, call: id });
    }

    function enqueue(frame) {
        outbox.push(frame);
        if (status.status === 'offline' || outbox.length > mostWaiting()) {
            const dropped = outbox.shift();
            counts.droppedFrames += 1;
            unhandled = unhandled.filter((each) => each !== dropped);
            if (dropped.call) {
                // Asynchronously, like every other end of a call.
                Promise.resolve().then(() => ended(dropped.call, 'failed', 'it could not be sent'));
            }
        }
        if (!flushing) {
            flushing = true;
            Promise.resolve().then(flush);
        }
    }

    /** Send what waits, in messages up to the size that the server accepts. */
    function flush() {
        flushing = false;
        while (link && link.welcomed && outbox.length) {
            if (link.transport.isBusy()) {
                // The end of a POST calls this again; a socket has no such event.
                if (link.kind === 'websocket') {
                    flushing = true;
                    setTimeout(flush, 100);
                }
                return;
            }
            const texts = [];
            let size = 1;
            do {
                const frame = outbox.shift();
                size += frame.size + 1;
                texts.push(frame.text);
                frame.sent = true;
                if (calls.has(frame.call)) {
                    calls.get(frame.call).sent = true;
                }
            } while (
                outbox.length &&
                texts.length < MAX_FRAMES &&
                size + outbox[0].size + 1 <= maxMessage
            );
            counts.framesOut += texts.length;
            counts.charactersOut += size;
            link.transport.send(`[${texts}]`);
        }
    }

    // -- Transports --------------------------------------------------------------------------------
    // Each calls message(text) and, once, closed(code).

    function openSocket(url, hello, message, closed) {
        const socket = new WebSocket(url.replace(/^http/, 'ws'));
        socket.onopen = () => socket.send(hello);
        socket.onmessage = (event) => message(event.data);
        socket.onclose = (event) => closed(event.code);
        return {
            send: (text) => socket.send(text),
            // Data sent to a closing socket would be lost.
            isBusy: () => socket.readyState !== 1 || socket.bufferedAmount > MAX_UNSENT,
            close: () => socket.close(),
        };
    }

    // Read with fetch, since an EventSource hides why it was refused, reconnects by itself, and has
    // no place for the page's token but the URL, which stands in logs.
    function openStream(url, hello, message, closed) {
        const abort = new AbortController();
        let connection = '';
        let waiting = []; // messages; one POST at a time keeps their order
        let posting = false;

        function post(path, body, headers) {
            const options = {
                method: 'POST',
                signal: abort.signal,
                headers: Object.assign({ 'Content-Type': 'application/json' }, headers),
                cache: 'no-store',
                body,
            };
            return fetch(url + path, options).then((response) => {
                if (!response.ok) {
                    // A late post for a connection that has ended is not a refusal.
                    const { status } = response;
                    const refused = connection ? status === 401 || status === 403 : status < 500;
                    throw refused && status !== 429 ? 4000 + status : LOST;
                }
                return response;
            });
        }

        function failed(error) {
            closed(typeof error === 'number' ? error : LOST);
        }

        function receive(lines) {
            const field = (name) =>
                lines
                    .filter((line) => line.startsWith(name + ':'))
                    .map((line) => line.slice(name.length + 1).replace(/^ /, ''))
                    .join('\n');
            const data = field('data');
            if (field('event') === 'close') {
                throw JSON.parse(data).code;
            } else if (data) {
                message(data);
            }
        }

        async function read() {
            const where = isHeldBack ? '/events?pad=1' : '/events';
            const response = await post(where, hello, { Accept: 'text/event-stream' });
            const reader = response.body.getReader();
            const decoder = new TextDecoder();
            let text = '';
            for (;;) {
                const { done, value } = await reader.read();
                if (done) {
                    throw LOST;
                }
                text += decoder.decode(value, { stream: true });
                const blocks = text.split(/\r?\n\r?\n/);
                text = blocks.pop();
                blocks.forEach((block) => receive(block.split(/\r?\n/)));
            }
        }

        async function write() {
            posting = true;
            while (waiting.length) {
                await post('/frames', waiting.shift(), { 'Flash-Connection': connection });
            }
            posting = false;
            flush();
        }

        read().catch(failed);
        return {
            send: (text) => {
                waiting.push(text);
                if (!posting) {
                    write().catch(failed);
                }
            },
            isBusy: () => posting,
            close: () => abort.abort(),
            welcomed: (frame) => {
                connection = frame.connection;
            },
        };
    }

    // -- The link ----------------------------------------------------------------------------------

    let config = {};
    let maxMessage = 65536;
    // The identity token: the page's secret.
    let page = null;
    // Tells this load of the page from copies of its HTML.
    const load = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    // The connection that is open or being opened; events of other connections are ignored.
    let link = null;
    let tries = 0;
    let retryTimer = 0;
    // The transport that has worked on this page, and how many sockets in a row have failed.
    let proven = null;
    let failures = 0;
    // Whether the event stream was tried because the server has refused the socket.
    let hasTriedStream = false;
    // Whether an event stream has opened but brought nothing: a proxy collects what it passes on. Then
    // the server is asked to fill up its messages.
    let isHeldBack = false;
    // Between pagehide and pageshow.
    let away = false;
    // Whether the browser reports offline although a server, local or behind a tunnel, responds.
    let offlineIsWrong = navigator.onLine === false;

    let status = { status: 'connecting', latency: null, recovered: null };
    const watchers = new Set();

    function setStatus(changes) {
        const next = Object.assign({}, status, changes);
        if (Object.keys(next).some((key) => next[key] !== status[key])) {
            status = next;
            watchers.forEach((watcher) => run(watcher, status));
        }
    }

    function onStatus(fn) {
        const watcher = (state) => fn(Object.assign({}, state));
        watchers.add(watcher);
        run(watcher, status);
        return () => watchers.delete(watcher);
    }

    function isPaused() {
        return document.hidden || away || (navigator.onLine === false && !offlineIsWrong);
    }

    function connect() {
        clearTimeout(retryTimer);
        if (link || status.status === 'offline' || isPaused()) {
            return;
        }
        // The server sends unapplied frames again, since the positions do not include them; but a channel
        // begins at its snapshot.
        early.forEach((frame) => frame.t === 'snapshot' && delete positions[frame.c]);
        early = [];
        const kind = proven || (failures < 2 && window.WebSocket ? 'websocket' : 'sse');
        const mine = {
            kind,
            transport: null,
            welcomed: false,
            // The frame with that; null before.
            welcome: null,
            begun: performance.now(),
            // Milliseconds between heartbeats.
            every: 0,
            lastBeat: 0,
            // The times of the heartbeats that have not been answered.
            beats: [],
            // Heartbeats sent since the last message.
            silence: 0,
            interval: 0,
            deadline: 0,
            // Ids of calls that the previous connection may not have delivered.
            doubtful: [],
        };
        link = mine;
        const url = new URL(`${config.requests_pathname_prefix || '/'}_flash/link`, location.origin).href;
        const hello = JSON.stringify({
            t: 'hello',
            v: 1,
            page,
            at: known(),
            path: location.pathname,
            load,
            new: !counts.connections,
        });
        const open = kind === 'websocket' ? openSocket : openStream;
        mine.deadline = setTimeout(() => {
            if (kind === 'sse' && !isHeldBack) {
                isHeldBack = true;
                console.warn(
                    'flash: the event stream brings nothing. If there is a proxy, turn off its buffering ' +
                        '(nginx: proxy_buffering off) or let WebSockets through.'
                );
                drop(mine);
                failures = 2;
                retry(0);
                return;
            }
            lose(mine, LOST);
        }, WELCOME_WITHIN);
        try {
            mine.transport = open(
                url,
                `[${hello}]`,
                (text) => link === mine && receive(mine, text),
                (code) => lose(mine, code)
            );
        } catch (_) {
            // Some browsers throw if a policy forbids the address.
            lose(mine, LOST);
        }
    }

    /** Close a connection and ignore its later events. */
    function drop(mine) {
        link = null;
        clearInterval(mine.interval);
        clearTimeout(mine.deadline);
        if (mine.transport) {
            mine.transport.close();
        }
    }

    /** Whether the server has refused the first socket, and the other transport may work. */
    function isWorthAStream(mine, code) {
        return code === FORBIDDEN && mine.kind === 'websocket' && !proven && !hasTriedStream;
    }

    function showDown(final) {
        const down = proven ? 'reconnecting' : 'connecting';
        setStatus({ status: final ? 'offline' : down, latency: null });
    }

    function lose(mine, code) {
        if (link !== mine) {
            return;
        }
        drop(mine);
        if (isWorthAStream(mine, code)) {
            // A proxy may pass on the page's host with requests, but not with upgrades.
            hasTriedStream = true;
            failures = 2;
            retry(0);
            return;
        }
        showDown(isFinal(code));
        if (status.status === 'offline') {
            abandon();
            return;
        }
        if (!mine.welcomed && code < 4000) {
            // Neither transport has worked: the server may be unavailable rather than WebSockets blocked.
            failures = mine.kind === 'websocket' ? failures + 1 : 0;
        }
        const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * Math.pow(2, Math.min(tries, 10)));
        tries += 1;
        retry(Math.random() * longest);
    }

    function retry(wait) {
        clearTimeout(retryTimer);
        retryTimer = setTimeout(connect, wait);
    }

    /** Drop what waits for a server. */
    function abandon() {
        forgetCalls();
        counts.droppedFrames += outbox.length + unhandled.filter((each) => each.sent).length;
        unhandled = [];
        outbox.splice(0).forEach((frame) => frame.call && ended(frame.call, 'failed', 'offline'));
    }

    function receive(mine, text) {
        mine.silence = 0;
        offlineIsWrong = navigator.onLine === false;
        if (mine.welcomed) {
            clearTimeout(mine.deadline);
        }
        let frames;
        try {
            frames = JSON.parse(text);
            if (!Array.isArray(frames)) {
                throw new TypeError('flash: the server sent something that is not a list of frames');
            }
        } catch (error) {
            console.error(error);
            lose(mine, LOST);
            return;
        }
        counts.framesIn += frames.length;
        counts.charactersIn += text.length;
        for (const frame of frames) {
            receiveFrame(mine, frame);
            if (link !== mine) {
                return;
            }
        }
    }

    function receiveFrame(mine, frame) {
        switch (frame.t) {
            case 'welcome':
                welcome(mine, frame);
                break;
            case 'beat':
                // By now the server has reported the calls that it has started.
                repeatCalls(mine.doubtful.splice(0));
                if (mine.beats.length) {
                    setStatus({ latency: Math.round(performance.now() - mine.beats.shift()) });
                } else {
                    // A request, not an answer: browsers slow down the timers of hidden pages, and the
                    // server has received nothing for a while.
                    sendBeat(mine);
                }
                break;
            case 'page':
                // The previous token expires soon.
                adopt(frame.page);
                break;
            case 'taken':
                handledUpTo(frame.k);
                break;
            case 'bye':
                drop(mine);
                showDown();
                retry(frame.after + Math.random() * FIRST_WAIT);
                break;
            case 'at':
                Object.keys(frame.at).forEach((channel) => restart(channel, false));
                Object.assign(positions, frame.at);
                break;
            case 'props':
            case 'snapshot':
            case 'event':
            case 'call':
            case 'notice':
                if (hydrated) {
                    run(take, frame);
                } else if (early.push(frame) > MAX_WAITING) {
                    // Sent what is missing once the layout is drawn.
                    drop(mine);
                    showDown();
                }
                break;
            default:
                if (addOn.frames.has(frame.t)) {
                    run(addOn.frames.get(frame.t), frame);
                }
        }
    }

    // -- Notices -----------------------------------------------------------------------------------
    // Texts of `live.notify`. Nothing of this is on a page before its first notice.

    // Notices on the page; a further one replaces the oldest.
    const MAX_NOTICES = 5;
    // Milliseconds between two looks at which notices have been shown for long enough.
    const NOTICE_TICK = 250;
    const NOTICE_SIGNS = { info: 'i', success: '\u2713', warning: '!', error: '\u00d7' };
    // No gradient, no image: nothing that a policy for contents could forbid.
    const NOTICE_STYLE = `
        #flash-notices { position: fixed; top: 0; right: 0; z-index: 10000; display: flex; box-sizing: border-box;
            flex-direction: column; gap: 8px; width: min(26rem, 100vw); max-height: 100vh; padding: 16px 16px 20px;
            overflow-y: auto; pointer-events: none; font: 14px/1.45 system-ui, sans-serif; color-scheme: light dark; }
        .flash-notice { --sign: #2563c9; display: flex; align-items: flex-start; gap: 10px; pointer-events: auto;
            box-sizing: border-box; flex: none; padding: 10px 8px 10px 12px; border: 1px solid #d5d9de; border-left: 4px solid var(--sign);
            border-radius: 6px; background: #fff; color: #1b1f24; box-shadow: 0 4px 14px rgba(0, 0, 0, .16); }
        .flash-notice-success { --sign: #1a7f37; }
        .flash-notice-warning { --sign: #9a6700; }
        .flash-notice-error { --sign: #cf222e; }
        .flash-notice-sign { flex: none; width: 20px; height: 20px; border-radius: 50%; background: var(--sign);
            color: #fff; font-weight: 700; line-height: 20px; text-align: center; }
        .flash-notice-text { flex: 1; min-width: 0; max-height: 40vh; overflow-y: auto; white-space: pre-wrap;
            overflow-wrap: anywhere; }
        .flash-notice-close { flex: none; width: 28px; height: 28px; margin: -4px 0; padding: 0; border: 0; border-radius: 4px;
            background: transparent; color: inherit; font: inherit; font-size: 18px; line-height: 1; cursor: pointer; }
        .flash-notice-close:hover { background: rgba(128, 128, 128, .2); }
        .flash-notice-close:focus-visible { outline: 2px solid var(--sign); outline-offset: 1px; }
        @media (prefers-color-scheme: dark) {
            .flash-notice { --sign: #6ea8fe; background: #22272e; color: #e8eaed; border-color: #444c56;
                border-left-color: var(--sign); box-shadow: 0 4px 14px rgba(0, 0, 0, .5); }
            .flash-notice-success { --sign: #57ab5a; }
            .flash-notice-warning { --sign: #e0a63a; }
            .flash-notice-error { --sign: #ff7b72; }
            .flash-notice-sign { color: #14171a; }
        }
        @media (prefers-reduced-motion: no-preference) {
            .flash-notice { animation: flash-notice-in .18s ease-out; }
            @keyframes flash-notice-in { from { opacity: 0; transform: translateY(-6px); } }
        }
        @media print { #flash-notices { display: none; } }`;

    // The element of all notices; null before the first one.
    let noticeList = null;
    let notices = []; // [{box, left: milliseconds that it is still shown}], the oldest first
    let noticeTimer = 0;

    /** Return a new element with a class and a text, which is never taken for HTML. */
    function elementOf(name, className, text) {
        const element = document.createElement(name);
        element.className = className;
        element.textContent = text;
        return element;
    }

    function beginNotices() {
        try {
            // A sheet that a script makes needs no permission of a policy for styles.
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(NOTICE_STYLE);
            document.adoptedStyleSheets = Array.from(document.adoptedStyleSheets).concat(sheet);
        } catch (_) {
            document.head.append(elementOf('style', '', NOTICE_STYLE));
        }
        noticeList = document.createElement('section');
        noticeList.id = 'flash-notices';
        noticeList.setAttribute('aria-label', 'Notices');
        noticeList.addEventListener('keydown', (event) => {
            const notice = notices.find((each) => each.box.contains(event.target));
            if (event.key === 'Escape' && notice) {
                event.stopPropagation();
                closeNotice(notice);
            }
        });
        document.body.append(noticeList);
    }

    function showNotice({ text, kind, seconds }) {
        if (!noticeList) {
            beginNotices();
        }
        const known = Object.keys(NOTICE_SIGNS).includes(kind) ? kind : 'info';
        const box = elementOf('div', `flash-notice flash-notice-${known}`, '');
        const close = elementOf('button', 'flash-notice-close', '\u00d7');
        const notice = { box, left: typeof seconds === 'number' ? seconds * 1000 : Infinity };
        const sign = elementOf('span', 'flash-notice-sign', NOTICE_SIGNS[known]);
        sign.setAttribute('aria-hidden', 'true');
        close.type = 'button';
        close.setAttribute('aria-label', 'Close');
        close.onclick = () => closeNotice(notice);
        // The role is there before the text, so that a screen reader notices the text.
        box.setAttribute('role', known === 'error' ? 'alert' : 'status');
        noticeList.append(box);
        box.append(sign, elementOf('div', 'flash-notice-text', String(text)), close);
        notices.push(notice);
        while (notices.length > MAX_NOTICES) {
            counts.droppedNotices += 1;
            closeNotice(notices[0]);
        }
        noticeTimer = noticeTimer || setInterval(ageNotices, NOTICE_TICK);
    }

    /** Count the time that notices are seen, but not while somebody is at one of them. */
    function ageNotices() {
        if (document.hidden) {
            return;
        }
        notices.slice().forEach((notice) => {
            if (!notice.box.matches(':hover, :focus-within')) {
                notice.left -= NOTICE_TICK;
            }
            if (notice.left <= 0) {
                closeNotice(notice);
            }
        });
    }

    function closeNotice(notice) {
        const at = notices.indexOf(notice);
        if (at < 0) {
            return;
        }
        const hadFocus = notice.box.contains(document.activeElement);
        notices.splice(at, 1);
        notice.box.remove();
        if (!notices.length) {
            clearInterval(noticeTimer);
            noticeTimer = 0;
        } else if (hadFocus) {
            // To the next one, so that the keyboard can close all.
            notices[Math.min(at, notices.length - 1)].box.querySelector('button').focus();
        }
    }

    // -- A server with a newer version of the app ---------------------------------------------------

    // Milliseconds within which a page reloads itself only once, since two versions may serve at a time.
    const RELOAD_ONCE_IN = 60000;
    const RELOADED = 'flash-reloaded-at';
    let isNoted = false;
    // Whether somebody has typed or chosen something on this page.
    let isEdited = false;

    /** React to a server whose callbacks differ from those of this page, as the app has set. */
    function versionChanged() {
        const wanted = config.flash_link.on_new_version;
        if (wanted === 'ignore') {
            return;
        }
        let reloadedAt = 0;
        try {
            reloadedAt = Number(sessionStorage.getItem(RELOADED));
            if (wanted === 'reload' && !isEdited && Date.now() - reloadedAt > RELOAD_ONCE_IN) {
                sessionStorage.setItem(RELOADED, Date.now());
                location.reload();
                return;
            }
        } catch (_) {
            // Without storage a page could reload itself again and again.
        }
        askToReload();
    }

    function askToReload() {
        if (isNoted) {
            return;
        }
        isNoted = true;
        const note = document.createElement('div');
        note.id = 'flash-new-version';
        note.setAttribute('role', 'status');
        note.style.cssText =
            'position:fixed;bottom:16px;right:16px;z-index:10000;padding:12px 16px;border-radius:6px;' +
            'background:#222;color:#fff;font:14px sans-serif;box-shadow:0 2px 8px rgba(0,0,0,.4)';
        const button = document.createElement('button');
        button.textContent = 'Reload';
        button.style.marginLeft = '12px';
        button.onclick = () => location.reload();
        note.append('This page has a new version.', button);
        document.body.append(note);
    }

    /** Use this identity from now on, for the link and for the requests of Dash's renderer. */
    function adopt(identity) {
        if (identity === page) {
            return;
        }
        page = identity;
        config.end_id = identity;
        // The renderer reads the element once, when it starts, and the store with each request.
        document.getElementById('_dash-config').textContent = JSON.stringify(config);
        (window.dash_stores || []).forEach((store) => {
            const renderer = store.getState().config;
            if (renderer) {
                renderer.end_id = identity;
            }
        });
    }

    /** Send the page's identity with callbacks over Dash's own WebSocket; over HTTP Dash sends it. */
    function nameCallers() {
        const { SharedWorker } = window;
        if (!SharedWorker || !config.websocket) {
            return;
        }
        window.SharedWorker = function DashWorker(...given) {
            const worker = new SharedWorker(...given);
            const { port } = worker;
            const postMessage = port.postMessage.bind(port);
            port.postMessage = (message, ...more) => {
                const isCall = message && message.type === 'callback_request' && message.payload;
                const named = isCall && Object.assign({}, message.payload, { endId: page });
                postMessage(named ? Object.assign({}, message, { payload: named }) : message, ...more);
            };
            return worker;
        };
    }

    /** Whether the browser has taken the page's HTML from its cache, with another page's identity. */
    function isCopy() {
        const [navigation] = performance.getEntriesByType('navigation');
        return Boolean(
            navigation && (navigation.type === 'back_forward' || navigation.transferSize === 0)
        );
    }

    /**
     * Replace the configuration of a copied page by that of a new page. The request blocks, since the
     * renderer and other scripts read the configuration next; it happens only for copies.
     */
    function renew(element) {
        const copied = JSON.parse(element.textContent);
        try {
            const request = new XMLHttpRequest();
            request.open('GET', location.href, false);
            request.setRequestHeader('Cache-Control', 'no-cache');
            request.send();
            const page = new DOMParser().parseFromString(request.responseText, 'text/html');
            const { end_id, flash_page } = JSON.parse(page.getElementById('_dash-config').textContent);
            Object.assign(copied, { end_id, flash_page });
        } catch (_) {
            // Without an identity the page gets one with its welcome.
            delete copied.end_id;
            delete copied.flash_page;
        }
        element.textContent = JSON.stringify(copied);
    }

    function welcome(mine, frame) {
        clearTimeout(mine.deadline);
        mine.welcomed = true;
        mine.welcome = frame;
        tries = failures = 0;
        proven = mine.kind;
        adopt(frame.page);
        const at = Object.create(null);
        addOn.kept.forEach((channel) => {
            if (positions[channel]) {
                at[channel] = positions[channel];
            }
        });
        positions = Object.assign(at, frame.at);
        counts.connections += 1;
        if (mine.transport.welcomed) {
            mine.transport.welcomed(frame);
        }
        mine.every = frame.beat;
        mine.lastBeat = Date.now();
        mine.interval = setInterval(() => beat(mine), mine.every);
        if (frame.recovered !== true || frame.moved) {
            forgetCalls(frame.calls);
        }
        calls.forEach((running, id) => {
            if (running.sent && running.frame) {
                mine.doubtful.push(id);
            }
        });
        if (mine.doubtful.length) {
            sendBeat(mine);
        }
        setStatus({
            status: 'open',
            latency: Math.round(performance.now() - mine.begun),
            recovered: frame.recovered,
        });
        const version = (config.flash_page || {}).version;
        if (version && frame.version && version !== frame.version) {
            versionChanged();
        }
        addOn.welcomes.forEach((fn) => run(fn, frame));
        sendAgain();
        flush();
    }

    // -- Heartbeats, sleep and hidden pages -----------------------------------------

    function beat(mine) {
        const since = Date.now() - mine.lastBeat;
        mine.lastBeat = Date.now();
        if (since > 2 * mine.every) {
            // The machine was asleep, or the browser has slowed down this page.
            probe(mine);
        } else if (mine.silence >= 2) {
            lose(mine, LOST);
        } else {
            mine.silence += 1;
            sendBeat(mine);
        }
    }

    function sendBeat(mine) {
        mine.beats.push(performance.now());
        mine.transport.send(JSON.stringify([{ t: 'beat', rtt: status.latency }]));
    }

    /** Check soon whether the connection still works. */
    function probe(mine) {
        clearTimeout(mine.deadline);
        const within = Math.min(PROBE_WITHIN, mine.every);
        mine.deadline = setTimeout(() => lose(mine, LOST), within);
        sendBeat(mine);
    }

    function wake() {
        if (!link) {
            connect();
        } else if (link.welcomed) {
            probe(link);
        }
    }

    /** Call `then` when all scripts of the page have run. */
    function whenParsed(then) {
        if (document.readyState === 'loading') {
            document.addEventListener('DOMContentLoaded', then);
        } else {
            then();
        }
    }

    function start() {
        const element = document.getElementById('_dash-config');
        config = JSON.parse(element.textContent);
        if (config.flash_link && isCopy()) {
            renew(element);
            config = JSON.parse(element.textContent);
        }
        if (config.flash_endpoints) {
            whenParsed(() => replace('dash_extensions', 'WebSocket', inTurns));
        }
        if (!config.flash_link) {
            return;
        }
        whenParsed(() => replace('dash_core_components', 'Graph', drawnInOrder));
        if (config.ui) {
            showInPanel();
        }
        nameCallers();
        maxMessage = config.flash_link.max_message || maxMessage;
        page = config.end_id || null;
        // What has been sent since the HTML was made is sent again.
        Object.assign(positions, (config.flash_page || {}).at);

        document.addEventListener('visibilitychange', () => document.hidden || wake());
        window.addEventListener('online', wake);
        window.addEventListener('offline', () => {
            offlineIsWrong = false;
        });
        // Browsers cache pages for the back button only without open connections. The status changes only
        // when the page is shown again: callbacks would start requests, which also prevent caching.
        window.addEventListener('pagehide', () => {
            away = true;
            if (link) {
                drop(link);
            }
        });
        window.addEventListener('pageshow', () => {
            if (away) {
                away = false;
                if (status.status === 'open') {
                    showDown();
                }
                wake();
            }
        });
        document.addEventListener('input', () => {
            isEdited = true;
        });
        connect();
        whenHydrated(() => {
            watchComponents();
            early.splice(0).forEach((frame) => run(take, frame));
            connect();
        });
    }

    // -- The WebSocket component of dash-extensions ------------------------------------------------
    // Dash skips a callback's call if its Input gets a newer value meanwhile: of a hundred messages at
    // once only a few would be handled. So messages are passed on one at a time, each when the callbacks
    // of the previous message have ended.

    // Milliseconds that a message waits for the callbacks of the previous one.
    const TURN_WITHIN = 10000;
    // The lists in Dash's store that hold callbacks which have not ended.
    const PENDING = ['requested', 'prioritized', 'blocked', 'executing', 'watched', 'executed'];

    /** Pass messages on in turn; isPending() returns whether callbacks of the last one still run. */
    function messageQueue(store, isPending, deliver) {
        let waiting = [];
        // Ends the wait for the last message's callbacks; null when there is none.
        let endTurn = null;

        function passOn() {
            while (!endTurn && waiting.length) {
                run(deliver, waiting.shift());
                if (isPending()) {
                    // A store may call a listener once more after it has unsubscribed.
                    const unsubscribe = store.subscribe(() => endTurn && !isPending() && endTurn());
                    const timer = setTimeout(() => endTurn && endTurn(), TURN_WITHIN);
                    endTurn = () => {
                        endTurn = null;
                        clearTimeout(timer);
                        unsubscribe();
                        // Asynchronously, after Dash's current work.
                        Promise.resolve().then(passOn);
                    };
                }
            }
        }

        return {
            add: (message) => {
                waiting.push(message);
                if (waiting.length > MAX_WAITING) {
                    waiting.shift();
                    counts.droppedMessages += 1;
                }
                passOn();
            },
            clear: () => {
                waiting = [];
                if (endTurn) {
                    endTurn();
                }
            },
        };
    }

    /** Wrap `component` so that it sets its property `message` in turn. */
    function inTurns(component) {
        const { createElement, useEffect, useRef } = window.React;
        const api = window.dash_component_api;

        function InTurns(props) {
            const store = api.useDashContext().useStore();
            const given = useRef(null);
            given.current = props.setProps;
            const mine = useRef(null);
            if (mine.current === null) {
                const trigger = `${api.stringifyId(props.id)}.message`;
                const isTriggered = (each) => Boolean(each.changedPropIds && each.changedPropIds[trigger]);
                const isPending = () => {
                    const lists = store.getState().callbacks || {};
                    return PENDING.some((name) => (lists[name] || []).some(isTriggered));
                };
                const queue = messageQueue(store, isPending, (message) => given.current({ message }));
                mine.current = {
                    clear: queue.clear,
                    setProps: (changes) =>
                        'message' in changes ? queue.add(changes.message) : given.current(changes),
                };
            }
            useEffect(() => mine.current.clear, []);
            return createElement(
                component,
                props.setProps ? Object.assign({}, props, { setProps: mine.current.setProps }) : props
            );
        }

        return Object.assign(InTurns, component);
    }

    /** Replace a component of a package by around(component). */
    function replace(namespace, name, around) {
        const components = window[namespace];
        if (components && components[name] && window.dash_component_api) {
            // The namespace object is read-only.
            window[namespace] = Object.create(components, {
                [name]: { value: around(components[name]), enumerable: true },
            });
        }
    }

    // -- Dash's Graph ------------------------------------------------------------------------------
    // If points arrive while a graph draws earlier points, it adds the earlier ones again, more often the
    // slower it is. If points arrive together with a figure, it adds them again with all later points, to
    // every graph of the page. So a graph gets one value at a time, and points only when React and plotly
    // have finished the previous points. Points that arrive meanwhile are drawn together.

    // Properties that a graph has to get in the order of their arrival.
    const IN_ORDER = ['figure', 'extendData', 'prependData'];
    // The property that the graph calls when it has drawn points and cleared the property.
    const WHEN_DRAWN = '_dashprivate_onFigureModified';

    /** Whether two values of extendData are for different traces. */
    function areApart(first, second) {
        const [some, others] = [first, second].map((each) => Array.isArray(each) && each[1]);
        return Array.isArray(some) && Array.isArray(others) && !some.some((trace) => others.includes(trace));
    }

    /** The queue of property values for one graph. */
    function drawingQueue(props) {
        const come = {};
        IN_ORDER.forEach((name) => {
            come[name] = props[name];
        });
        const given = Object.assign({}, come);
        const waiting = []; // [name, value]

        function add(name, value) {
            for (let at = waiting.length - 1; at >= 0 && waiting[at][0] === name; at -= 1) {
                const before = waiting[at][1];
                const both = name === 'figure' ? value : joined(name, before, value);
                if (both) {
                    waiting[at][1] = both;
                    return;
                }
                if (!areApart(before, value)) {
                    break;
                }
            }
            waiting.push([name, value]);
            if (waiting.length > MAX_WAITING) {
                waiting.shift();
                counts.droppedPoints += 1;
            }
        }

        return {
            given,
            /** Queue the properties of the component that have changed. */
            take: (now) => {
                IN_ORDER.filter((name) => now[name] !== come[name]).forEach((name) => {
                    come[name] = now[name];
                    if (now[name]) {
                        add(name, now[name]);
                    }
                });
            },
            /** Pass on the next value if mayGive(its name); returns the name, or null. */
            give: (mayGive) => {
                if (!waiting.length || !mayGive(waiting[0][0])) {
                    return null;
                }
                const [name, value] = waiting.shift();
                given[name] = value;
                return name;
            },
        };
    }

    /** Wrap Dash's Graph so that it gets its values in order. */
    function drawnInOrder(Graph) {
        if (!Graph.defaultProps || !Graph.defaultProps[WHEN_DRAWN]) {
            return Graph;
        }
        const { createElement, useLayoutEffect, useReducer, useRef } = window.React;
        const increase = (count) => count + 1;

        function DrawnInOrder(props) {
            const [, give] = useReducer(increase, 0);
            const [drawn, countDrawn] = useReducer(increase, 0);
            const mine = useRef(null);
            if (mine.current === null) {
                mine.current = {
                    queue: drawingQueue(props),
                    props,
                    drawn,
                    isDrawing: Boolean(props.extendData || props.prependData),
                    whenDrawn: (figure) => {
                        countDrawn();
                        return mine.current.props[WHEN_DRAWN](figure);
                    },
                };
            }
            const graph = mine.current;
            // After each rendering of the graph.
            useLayoutEffect(() => {
                graph.props = props;
                graph.queue.take(props);
                if (graph.drawn !== drawn) {
                    // In the same rendering React has cleared the points.
                    graph.drawn = drawn;
                    graph.isDrawing = false;
                }
                // A graph draws a figure after its points by itself, unless it is still loading.
                const name = graph.queue.give(
                    (next) => !graph.isDrawing || (next === 'figure' && graph.drawn > 0)
                );
                if (name) {
                    graph.isDrawing = graph.isDrawing || name !== 'figure';
                    give();
                }
            });
            return createElement(
                Graph,
                Object.assign({}, props, graph.queue.given, { [WHEN_DRAWN]: graph.whenDrawn })
            );
        }

        // A class, since React warns of default properties of functions.
        const { Component } = window.React;
        function OrderedGraph(...given) {
            Component.apply(this, given);
        }
        OrderedGraph.prototype = Object.create(Component.prototype);
        OrderedGraph.prototype.render = function render() {
            return createElement(DrawnInOrder, this.props);
        };
        // Dash reads its loading state from it, and React its default properties.
        return Object.setPrototypeOf(OrderedGraph, Graph);
    }

    // -- The developer's panel ---------------------------------------------------------------------
    // It is there in debug mode only, and calls these functions while it is open.

    // Milliseconds between two measurements of the latency while somebody looks at it.
    const MEASURE_EVERY = 2000;
    let measuredAt = 0;
    // Channel → frames of it that were applied; counted in debug mode only.
    const applied = new Map();

    /** Return where an update comes from, in words. */
    function originOf(from) {
        if (typeof from === 'string') {
            return from;
        }
        if (from && from.call !== undefined) {
            const { name } = calls.get(from.call) || {};
            return `event callback ${name || from.call}`;
        }
        const [kind, ...rest] = ((from && from.c) || '').split(':');
        const inWords = addOn.origins.get(kind);
        return inWords ? inWords(rest.join(':'), from) : (from && from.c) || 'a script of Flash';
    }

    /** Let a heartbeat measure the latency, if the last one was a while ago. */
    function measure() {
        if (link && link.welcomed && !link.beats.length && Date.now() - measuredAt > MEASURE_EVERY) {
            measuredAt = Date.now();
            sendBeat(link);
        }
    }

    function inspectLink() {
        measure();
        const dropped = Object.keys(counts).filter((name) => name.startsWith('dropped') && counts[name]);
        const facts = {
            status: status.status,
            transport: proven,
            'latency (ms)': status.latency,
            connections: counts.connections,
            'missed nothing': status.recovered,
            'frames in': counts.framesIn,
            'characters in': counts.charactersIn,
            'frames out': counts.framesOut,
            'characters out': counts.charactersOut,
            'frames applied': counts.applied,
            'frames that came twice': counts.repeated,
            'waiting to be sent': outbox.length,
            'events not acknowledged': unhandled.length,
            'updates without a component': counts.absent,
            'of these waiting for it': keptCount,
            dropped: dropped.map((name) => `${counts[name]} ${name.slice(7).toLowerCase()}`).join(', ') || 0,
        };
        const rows = Object.keys(positions).map((channel) => ({
            channel,
            number: positions[channel][1],
            frames: applied.get(channel) || 0,
            epoch: positions[channel][0],
        }));
        return { facts, rows, badge: status.status, empty: 'The page follows no channel yet.' };
    }

    function inspectCalls() {
        const rows = Array.from(calls, ([id, { name, by, begun, sent, frame }]) => ({
            callback: name || `call ${id}`,
            by: (by || []).join(', '),
            begun,
            status: frame === null ? 'running' : sent ? 'sent' : 'waiting',
            cancel: () => stop(id),
        }));
        return { rows, empty: 'No event callback of this page runs.' };
    }

    function showInPanel() {
        const inspect = (flash.inspect = flash.inspect || {});
        inspect.Link = inspectLink;
        inspect['Event callbacks'] = inspectCalls;
    }

    // -- The public interface ---------------------------------------------------------------------

    Object.assign(flash, {
        on,
        send,
        statistics: () =>
            Object.assign(
                {
                    transport: proven,
                    waitingEvents: events.length,
                    waitingFrames: outbox.length,
                    unhandledEvents: unhandled.length,
                    runningCalls: calls.size,
                    waitingUpdates: keptCount,
                },
                status,
                counts
            ),
        link: {
            call,
            stop,
            onStatus,
            // For add-on packages.
            post: (frame) => post(encode(frame)),
            onChannel: (kind, fn) => addOn.channels.set(kind, fn),
            onFrame: (kind, fn) => addOn.frames.set(kind, fn),
            // A script that is loaded late is told the welcome that has come.
            onWelcome: (fn) => {
                addOn.welcomes.push(fn);
                if (link && link.welcomed) {
                    run(fn, link.welcome);
                }
            },
            position: (channel) => known()[channel],
            kept: addOn.kept,
            setUnasked: (fn) => Object.assign(addOn, { isUnasked: fn }),
            restart,
            whenHydrated,
            isOnPage,
            setProps: (updates, channel, from) => setProps(updates, channel, from),
            origins: addOn.origins,
            applied: (channel) => applied.get(channel) || 0,
            forgetChannel,
        },
    });

    const clientside = (window.dash_clientside = window.dash_clientside || {});
    clientside.flash_ws = new Proxy({}, { get: (_, name) => () => trigger(name) });

    function LinkStatus(props) {
        const latest = window.React.useRef(null);
        latest.current = props.setProps;
        window.React.useEffect(() => onStatus((state) => latest.current(state)), []);
        return null;
    }
    window.flash_ws = Object.assign(window.flash_ws || {}, { LinkStatus });

    if (document.getElementById('_dash-config')) {
        start();
    } else {
        whenParsed(start);
    }
})();
