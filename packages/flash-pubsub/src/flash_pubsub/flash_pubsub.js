/*
 * The page's part of shared callbacks and subscriptions, over the live link of flash_ws.js.
 *
 * A plain classic script without a build step, run after flash_ws.js and before Dash's renderer. It
 * does nothing on a page whose configuration has no `flash_pubsub`.
 *
 * For each shared callback the page has a clientside callback without outputs. Dash calls it when an
 * input changes, and it sends the change. The server answers with one message to all pages, and all
 * pages get these messages in the same order:
 *   - The server's value of each property is remembered. When Dash reports a value that was pushed, it
 *     equals the remembered value and is not sent back. Components mounted later begin with that value.
 *   - A property that the user of this page has changed keeps the user's value until the message that
 *     answers the change arrives. After that, newer messages are shown.
 *   - A change carries its time by this page's clock. Of two changes the later one counts.
 *   - A change in a list of picks carries the list before it, so that the picks of several pages count.
 *   - A text in which the user is typing is not replaced before they pause or leave it.
 *   - A callback with a room counts only while the page is in a room. What the page knows of a room is
 *     forgotten when it leaves the room, and its components show again what they showed before.
 */
(function () {
    'use strict';

    // Milliseconds between two messages of one callback: a slider reports more changes than anybody sees.
    const SEND_EVERY = 25;
    // Milliseconds after a reconnect until unanswered changes are sent again. By then the messages that
    // the page has missed have arrived, including answers to its changes.
    const REPEAT_AFTER = 200;

    // Components of Dash, Bootstrap and Mantine whose value is a list of picks, and its length at most.
    const PICK_LISTS = ['Dropdown', 'Checklist', 'MultiSelect', 'CheckboxGroup', 'ChipGroup', 'TagsInput'];
    const MAX_PICKS = 1000;
    // Milliseconds without a keystroke after which the user has paused.
    const TYPING = 1000;
    const LOOK_AGAIN = 250;

    const link = window.flash && window.flash.link;
    if (!link || !link.onChannel || window.flash_pubsub) {
        return;
    }

    let callbacks = {}; // name → {inputs: [[id, property]], outputs: …, room: pattern of its rooms, if any}
    let prefix = '/'; // the path below which the app is served
    let pageId = null; // this page's id
    let isOpen = false; // whether the link is open
    // Whether the shared state has arrived, which tells which callbacks have run.
    let hasState = false;
    // The number of this page's last change. It does not begin at 0, because a page from the browser's
    // cache may have the identity of an earlier page.
    let lastChange = Date.now();

    // Keys are a component's id as Dash writes it and a property.
    const serverValues = new Map(); // key → the server's value
    // key → {callback name: number of this page's newest change that the callback has not answered}
    const pending = new Map();
    const inputKeys = new Set(); // keys of the inputs of all callbacks
    const owners = new Map(); // key → the pattern of its callbacks' rooms; undefined if they have none
    const reported = new Map(); // key of an input → the value that Dash reported or this script set last
    const made = new Map(); // key of an input → {value, at: time of the user's change, the same for all callbacks}
    const waiting = new Map(); // callback name → {change: the change to send, timer, sentAt}
    const before = new Map(); // key → the list of picks before the oldest unanswered change
    const unanswered = new Map(); // number → frame that the server has not answered, sent or not

    function stringify(id) {
        return typeof id === 'object' && id
            ? JSON.stringify(Object.keys(id).sort().reduce((all, key) => ((all[key] = id[key]), all), {}))
            : id;
    }

    const keyOf = (id, property) => `${stringify(id)}.${property}`;

    function equal(a, b) {
        if (a === b) {
            return true;
        }
        if (typeof a !== 'object' || typeof b !== 'object' || !a || !b) {
            return a !== a && b !== b;
        }
        const keys = Object.keys(a);
        return (
            Array.isArray(a) === Array.isArray(b) &&
            keys.length === Object.keys(b).length &&
            keys.every((key) => Object.prototype.hasOwnProperty.call(b, key) && equal(a[key], b[key]))
        );
    }

    /** Return a property's value on the page; undefined if the component is not on it. */
    function current(id, property) {
        if (!link.isOnPage(id)) {
            return undefined;
        }
        return window.dash_component_api.getLayout(id).props[property];
    }

    /** Whether the user has changed an input and Dash has not reported it yet. */
    function isUnreported(key, value) {
        return inputKeys.has(key) && reported.has(key) && !equal(value, reported.get(key));
    }

    /** Record that an input shows the server's value: if the user sets their value again, it is a new change. */
    function recordServerValue(key, value) {
        reported.set(key, value);
        restored.delete(key);
        if (made.has(key) && !equal(made.get(key).value, value)) {
            made.set(key, { at: made.get(key).at });
        }
    }

    /** Show the server's value of a property, unless the page shows it already. */
    function show(id, property, value) {
        recordServerValue(keyOf(id, property), value);
        if (link.isOnPage(id) && !equal(current(id, property), value)) {
            keepCursor([[id, { [property]: value }]]);
            link.setProps([[id, { [property]: value }]], undefined, 'shared value');
        }
    }

    // -- A text in which the user is typing --------------------------------------------------------

    let typedAt = -Infinity;
    const heldBack = new Map(); // key → [id, property] whose server's value waits until the user pauses
    let heldTimer = 0;

    /** Return the text field of a component if it has the focus; else null. */
    function focusedText(id) {
        const field = document.activeElement;
        const component = document.getElementById(stringify(id));
        const isText =
            field instanceof HTMLTextAreaElement ||
            (field instanceof HTMLInputElement && field.selectionStart !== undefined && !/^(checkbox|radio|range|button|submit|file|color)$/.test(field.type));
        return component && isText && component.contains(field) ? field : null;
    }

    /** Whether the user is typing into a component, or has typed what the component has not reported. */
    function isTyping(id, property) {
        const field = property === 'value' && focusedText(id);
        const value = field ? current(id, property) : null;
        if (!field || (typeof value === 'object' && value !== null)) {
            return false;
        }
        const shown = value === null || value === undefined ? '' : String(value);
        return performance.now() - typedAt < TYPING || field.value !== shown;
    }

    function holdBack(id, property) {
        heldBack.set(keyOf(id, property), [id, property]);
        heldTimer = heldTimer || setTimeout(showHeldBack, LOOK_AGAIN);
    }

    function showHeldBack() {
        heldTimer = 0;
        Array.from(heldBack).forEach(([key, [id, property]]) => {
            if (!link.isOnPage(id) || pending.has(key)) {
                // A new component begins with the server's value; an answer brings the newest one.
                heldBack.delete(key);
            } else if (!isTyping(id, property)) {
                heldBack.delete(key);
                if (!isUnreported(key, current(id, property))) {
                    show(id, property, serverValues.get(key));
                }
            }
        });
        if (heldBack.size) {
            heldTimer = setTimeout(showHeldBack, LOOK_AGAIN);
        }
    }

    /** Keep the cursor of the focused field where it is in its text, when a change of the text is drawn. */
    function keepCursor(updates) {
        updates.forEach(([id, { value }]) => {
            const field = typeof value === 'string' && focusedText(id);
            if (!field || field.selectionStart === null) {
                return;
            }
            const text = field.value;
            const at = [field.selectionStart, field.selectionEnd];
            // How much of the text is the same at its beginning and at its end.
            const least = Math.min(text.length, value.length);
            let start = 0;
            while (start < least && text[start] === value[start]) {
                start += 1;
            }
            let end = 0;
            while (end < least - start && text[text.length - 1 - end] === value[value.length - 1 - end]) {
                end += 1;
            }
            const moved = (place) =>
                place <= start ? place : Math.max(start, place + (place >= text.length - end ? value.length - text.length : 0));
            const [first, last] = at.map((place) => Math.min(moved(place), value.length));
            const until = performance.now() + TYPING;
            const place = () => {
                if (document.activeElement !== field || field.value !== value) {
                    if (field.value === text && performance.now() < until) {
                        requestAnimationFrame(place);
                    }
                    return;
                }
                field.setSelectionRange(first, last);
            };
            requestAnimationFrame(place);
        });
    }

    // -- From the server ---------------------------------------------------------------------------

    // Properties that add to a value. They are set each time they arrive, even if they are equal.
    const INCREMENTAL = ['extendData', 'prependData', 'rowTransaction', 'rowTransactionAsync'];

    /** Apply a frame of the shared state. */
    function applyShared(frame) {
        const place = frame.c === 'shared' ? [] : roomsNamed(frame.c.slice('shared:'.length));
        if (frame.c !== 'shared' && !place.length) {
            // Of a room that the page has left.
            return;
        }
        if (frame.o && frame.o[pageId] !== undefined) {
            markAnswered(frame.cb, frame.o[pageId]);
        }
        const patterns = place.length ? place.map(({ text }) => text) : [undefined];
        const updates = [];
        frame.u.forEach(([id, props]) => {
            const changes = {};
            Object.keys(props).forEach((property) => {
                const key = keyOf(id, property);
                if (INCREMENTAL.includes(property)) {
                    changes[property] = props[property];
                    return;
                }
                if (owners.has(key) && !patterns.includes(owners.get(key))) {
                    // Set before its callback got a room, or by a callback of another room.
                    return;
                }
                serverValues.set(key, props[property]);
                // A value that the user has changed since is newer than the server's.
                const here = current(id, property);
                place.forEach((room) => rememberInitial(room, key, [id, property]));
                if (isTyping(id, property) && !equal(here, props[property])) {
                    holdBack(id, property);
                } else if (!pending.has(key) && !isUnreported(key, here)) {
                    recordServerValue(key, props[property]);
                    if (!equal(here, props[property])) {
                        changes[property] = props[property];
                    }
                }
            });
            if (Object.keys(changes).length) {
                updates.push([id, changes]);
            }
        });
        keepCursor(updates);
        link.setProps(updates, undefined, frame);
        if (frame.t === 'snapshot') {
            hasState = hasState || frame.c === 'shared';
            place.forEach((room) => {
                room.hasState = true;
                sendUnanswered(room);
            });
            sendOffers();
        }
    }

    /** Drop the changes of a callback up to a number from those that wait for an answer. */
    function markAnswered(name, number) {
        unanswered.forEach((each, k) => each.cb === name && k <= number && unanswered.delete(k));
        pending.forEach((each, key) => {
            if (each[name] <= number) {
                delete each[name];
                if (!Object.keys(each).length) {
                    pending.delete(key);
                }
            }
        });
    }

    /** Handle an answer to this page alone: the change was used already, or its callback has failed. */
    function handleAnswer(frame) {
        if (frame.failed) {
            console.error(`flash: the shared callback ${frame.label} failed: ${frame.failed}`);
        }
        markAnswered(frame.cb, frame.k);
        showServerValues((callbacks[frame.cb] || { inputs: [] }).inputs);
    }

    // -- To the server -----------------------------------------------------------------------------

    /** Send the changes of a shared callback's inputs; called by Dash as a clientside callback. */
    function handleChange(name) {
        const context = window.dash_clientside.callback_context;
        const values = context.inputs_list.map((each) => each.value);
        const states = (context.states_list || []).map((each) => each.value);
        const triggers = context.triggered.map((each) => each.prop_id);
        const shown = context.inputs_list.map((each) => reported.get(keyOf(each.id, each.property)));
        context.inputs_list.forEach((each) => {
            reported.set(keyOf(each.id, each.property), each.value);
        });
        if (!isShared(name)) {
            return window.dash_clientside.no_update;
        }
        const places = context.inputs_list
            .map((each, place) => [keyOf(each.id, each.property), place])
            .filter(([key]) => triggers.includes(key))
            // A value equal to the server's was pushed, or has not changed.
            .filter(([key, place]) => pending.has(key) || !equal(serverValues.get(key), values[place]))
            .filter(([key, place]) => serverValues.has(key) || values[place] !== undefined)
            .filter(([key, place]) => !isRestored(key, values[place]));
        if (places.length) {
            lastChange += 1;
            const number = lastChange;
            const was = {};
            places.forEach(([key, place]) => {
                const each = context.inputs_list[place];
                if (!pending.has(key)) {
                    before.set(key, serverValues.has(key) ? serverValues.get(key) : shown[place]);
                }
                was[place] = isPickList(each) && before.get(key) !== undefined ? [before.get(key)] : null;
                pending.set(key, Object.assign(pending.get(key) || {}, { [name]: number }));
            });
            const at = {};
            places.forEach(([key, place]) => (at[place] = madeAt(key, values[place])));
            enqueue(name, { k: number, v: values, s: states, at, was });
        }
        return window.dash_clientside.no_update;
    }

    /** Return the time of a change in milliseconds, the same each time that Dash reports the change. */
    function madeAt(key, value) {
        const known = made.get(key) || { at: 0 };
        if (!('value' in known) || !equal(known.value, value)) {
            made.set(key, { value, at: Math.max(Date.now(), known.at + 1) });
        }
        return made.get(key).at;
    }

    /** Whether a property is a list to which several people may add at once; their order means nothing. */
    function isPickList({ id, property, value }) {
        if (property !== 'value' || !link.isOnPage(id)) {
            return false;
        }
        const { type, props } = window.dash_component_api.getLayout(id);
        return PICK_LISTS.includes(type) && (type !== 'Dropdown' || props.multi === true) && !isTooLong(value);
    }

    const isTooLong = (value) => Array.isArray(value) && value.length > MAX_PICKS;

    /** Send a change, at most every `SEND_EVERY` ms: changes that wait are sent as one. */
    function enqueue(name, change) {
        let entry = waiting.get(name);
        if (!entry) {
            waiting.set(name, (entry = { change: null, timer: 0, sentAt: -Infinity }));
        }
        if (entry.change) {
            change.at = Object.assign(entry.change.at, change.at);
            change.was = Object.assign(entry.change.was, change.was);
        }
        entry.change = change;
        if (!entry.timer) {
            const wait = Math.max(0, entry.sentAt + SEND_EVERY - performance.now());
            if (wait === 0) {
                send(name, entry);
            } else {
                entry.timer = setTimeout(() => send(name, entry), wait);
            }
        }
    }

    function send(name, entry) {
        const { k, v, s, at, was } = entry.change;
        const changed = Object.keys(at).map(Number);
        const frame = { t: 'share', cb: name, k, v, s, changed, at: changed.map((place) => at[place]) };
        if (changed.some((place) => was[place])) {
            frame.before = changed.map((place) => was[place]);
        }
        const room = roomOf(name);
        if (room) {
            frame.room = room.channel;
        }
        entry.change = null;
        entry.timer = 0;
        entry.sentAt = performance.now();
        // An earlier change need not be answered if this one has all of its inputs.
        unanswered.forEach((each, number) => {
            if (each.cb === name && each.changed.every((place) => frame.changed.includes(place))) {
                unanswered.delete(number);
            }
        });
        unanswered.set(frame.k, frame);
        if (isOpen && (!room || isReady(room))) {
            post(frame);
        }
    }

    /** Post a frame with the page's time, from which the server computes the difference of the clocks. */
    function post(frame) {
        link.post(Object.assign({ now: Date.now() }, frame));
    }

    /** Offer the values for a callback's first run; the server uses those of one page. */
    function offer(name, values, states) {
        const frame = { t: 'share', cb: name, k: 0, v: values, s: states, changed: [] };
        if (roomOf(name)) {
            frame.room = roomOf(name).channel;
        }
        offers.push(frame);
        sendOffers();
    }

    // Offers that wait for the link and the shared state.
    let offers = [];

    function sendOffers() {
        const canBeSent = ({ cb }) => isOpen && (roomOf(cb) ? isReady(roomOf(cb)) : hasState);
        const ready = offers.filter(canBeSent);
        offers = offers.filter((each) => !ready.includes(each));
        ready.forEach(post);
    }

    /** Show the server's values of properties: of new components, or after a refused change. */
    function showServerValues(properties) {
        properties.forEach(([id, property]) => {
            const key = keyOf(id, property);
            if (!serverValues.has(key) || pending.has(key)) {
                return;
            }
            if (isTyping(id, property) && !equal(current(id, property), serverValues.get(key))) {
                holdBack(id, property);
            } else {
                show(id, property, serverValues.get(key));
            }
        });
    }

    // Keys of properties whose component is on the page, and callbacks whose first run was offered.
    const present = new Set();
    const offered = new Set();

    /**
     * Find components that were added to the page or removed from it. Dash does not call a callback
     * without outputs for components that another callback adds.
     */
    function checkComponents() {
        Object.keys(callbacks).forEach((name) => {
            const { inputs, outputs, states } = callbacks[name];
            const room = roomOf(name);
            inputs.concat(outputs).forEach(([id, property]) => {
                const key = keyOf(id, property);
                if (!link.isOnPage(id)) {
                    present.delete(key);
                    if (room) {
                        room.initial.delete(key);
                    }
                } else if (!present.has(key)) {
                    present.add(key);
                    if (room && isShared(name)) {
                        rememberInitial(room, key, [id, property]);
                    }
                    showServerValues([[id, property]]);
                }
            });
            const isHere = ([id, property]) => present.has(keyOf(id, property));
            if (!offered.has(name) && isShared(name) && inputs.every(isHere)) {
                offered.add(name);
                const values = (properties) => properties.map(([id, property]) => current(id, property));
                offer(name, values(inputs), values(states));
            }
        });
    }

    // -- Subscriptions -----------------------------------------------------------------------------

    // channel → {token, since, status,
    //   watchers: [fn({status, …})], one for each active Subscription; `fn.wants` is 'room' or 'present' if
    //     the page is to follow more of the channel than the results of its callbacks,
    //   list: who is present, if the page follows that,
    //   suspended: the number of Subscriptions in panels of flash-lazy that are out of view,
    //   resumes: whether the page continues from the position at which it stopped following,
    //   isFollowed: whether the last welcome has brought what was missed}
    const channels = new Map();
    const SUSPENDED = '.flash-lazy[data-suspended="true"]';

    /** The page channels that carry the results of a channel's callbacks. */
    const pageChannels = (channel) => [`channel:${channel}`, `once:${channel}`];

    function postSubscribe(channel, { token, since, resumes }) {
        const frame = { t: 'subscribe', channel, token };
        if (since) {
            frame.since = since;
        }
        const wants = wantsOf(channels.get(channel));
        if (wants.length) {
            frame.with = wants;
        }
        if (resumes) {
            frame.at = {};
            pageChannels(channel).forEach((name) => {
                const position = link.position(name);
                if (position) {
                    frame.at[name] = position;
                }
            });
        }
        link.post(frame);
    }

    /** What the page is to follow of a channel besides the results of its callbacks. */
    function wantsOf({ watchers }) {
        return ['room', 'present'].filter((kind) => watchers.some(({ wants }) => wants === kind));
    }

    /** Ask for a channel again if the page is to follow more or less of it than before. */
    function updateWants(channel, entry, before) {
        if (isOpen && wantsOf(entry).join() !== before.join()) {
            postSubscribe(channel, { token: entry.token, resumes: false });
        }
    }

    function addWatcher(channel, entry, watcher) {
        const before = wantsOf(entry);
        entry.watchers.push(watcher);
        if (entry.watchers.length > 1) {
            watcher({ status: entry.status });
            if (entry.list && watcher.show) {
                watcher.show(entry.list);
            }
            updateWants(channel, entry, before);
            return;
        }
        entry.status = 'pending';
        entry.isFollowed = false;
        if (isOpen) {
            postSubscribe(channel, entry);
        }
    }

    function removeWatcher(channel, entry, watcher) {
        const before = wantsOf(entry);
        entry.watchers = entry.watchers.filter((each) => each !== watcher);
        if (!wantsOf(entry).includes('present')) {
            entry.list = null;
        }
        if (entry.watchers.length) {
            updateWants(channel, entry, before);
        } else if (isOpen) {
            link.post({ t: 'unsubscribe', channel });
        }
    }

    /** Set whether the page resumes a channel; if so, the link keeps its position across reconnects. */
    function setResumes(channel, entry, resumes) {
        entry.resumes = resumes;
        pageChannels(channel).forEach((name) => (resumes ? link.kept.add(name) : link.kept.delete(name)));
    }

    /**
     * With a `since`, ignore the frames of a channel until it begins there, unless another Subscription
     * than that of the watcher `own` follows it already.
     */
    function begin(channel, since, own) {
        if (since && (channels.get(channel) || { watchers: [] }).watchers.every((each) => each === own)) {
            link.restart(`channel:${channel}`, true);
        }
    }

    /** Subscribe while no panel around `element` is suspended; returns a function that ends this. */
    function subscribe(element, { channel, token, since }, watcher) {
        const entry = channels.get(channel) || { watchers: [], suspended: 0, resumes: false };
        channels.set(channel, entry);
        let isSuspended = element.closest(SUSPENDED) !== null;
        let wasSubscribed = false;
        const enter = () => {
            if (isSuspended) {
                entry.suspended += 1;
                watcher({ status: 'suspended' });
                return;
            }
            if (!entry.watchers.length && !wasSubscribed) {
                // A component that is new on the page shows the present state, or begins at its `since`.
                setResumes(channel, entry, false);
                Object.assign(entry, { token, since });
                begin(channel, since);
            }
            wasSubscribed = true;
            addWatcher(channel, entry, watcher);
        };
        const leave = () => {
            if (isSuspended) {
                entry.suspended -= 1;
            } else {
                removeWatcher(channel, entry, watcher);
            }
        };
        const update = () => {
            const now = element.closest(SUSPENDED) !== null;
            if (now !== isSuspended) {
                leave();
                if (now && !entry.watchers.length) {
                    setResumes(channel, entry, true);
                }
                isSuspended = now;
                enter();
            }
        };
        enter();
        document.addEventListener('flash-lazy-suspend', update, true);
        return () => {
            document.removeEventListener('flash-lazy-suspend', update, true);
            leave();
            if (!entry.watchers.length && !entry.suspended) {
                setResumes(channel, entry, false);
                link.restart(`channel:${channel}`, false);
                channels.delete(channel);
            }
        };
    }

    /** Handle a `subscription` frame: pass status and recovered to the Subscriptions of the channel. */
    function handleSubscription(frame) {
        const entry = channels.get(frame.channel);
        if (!entry) {
            return;
        }
        const changes = { status: (entry.status = frame.status) };
        // A page that has lost its link, and whose server has forgotten it, goes on where it was.
        setResumes(frame.channel, entry, frame.status === 'subscribed' || !entry.watchers.length);
        if (frame.status === 'denied') {
            link.restart(`channel:${frame.channel}`, false);
        }
        if (frame.recovered !== undefined && !entry.isFollowed) {
            changes.recovered = frame.recovered;
        }
        entry.watchers.forEach((watcher) => watcher(changes));
    }

    function Subscription(props) {
        const latest = window.React.useRef(null);
        const own = window.React.useRef(null);
        const element = window.React.useRef(null);
        latest.current = props;
        // Before the frames that have come are shown on the new components.
        window.React.useLayoutEffect(
            () => begin(props.channel, props.since, own.current),
            [props.channel, props.token]
        );
        window.React.useEffect(() => {
            own.current = (changes) => {
                if (Object.keys(changes).some((name) => latest.current[name] !== changes[name])) {
                    latest.current.setProps(changes);
                }
            };
            return subscribe(element.current, props, own.current);
        }, [props.channel, props.token]);
        // An invisible element, from which the panel around it is found.
        return window.React.createElement('span', { ref: element, style: { display: 'none' } });
    }

    // -- Rooms -------------------------------------------------------------------------------------

    // pattern → {text, matches: RegExp, names: of its callbacks,
    //   channel: the room of this page, null for none; holders: what puts it there, components and the URL,
    //   status: of the subscription; hasState: whether the room's values have arrived,
    //   places: key → [id, property] that the room has set or may set,
    //   initial: key → what the page showed before,
    //   path: matches the URL that leads into a room, if one does; named, endNamed: of the URL's room}
    const rooms = new Map();
    // key → a value that a component shows again since the page has left a room: no change of the user.
    const restored = new Map();
    // Of each `Room`: function that enters, if the page is in no other room of the pattern.
    const waitingRooms = new Set();

    const roomOf = (name) => rooms.get((callbacks[name] || {}).room) || null;
    const isReady = (room) => room.channel !== null && room.status === 'subscribed' && room.hasState;
    const roomsNamed = (channel) => Array.from(rooms.values()).filter((room) => room.channel === channel);

    /** Whether the values of a callback are shared now: it has no room, or the page is in one. */
    const isShared = (name) => roomOf(name) === null || roomOf(name).channel !== null;

    function isRestored(key, value) {
        if (restored.has(key) && !equal(restored.get(key), value)) {
            restored.delete(key);
        }
        return restored.has(key);
    }

    /** Make a regular expression of a name with variables: {desk} in patterns, <desk> in paths. */
    function expression(text, variable) {
        const escaped = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
        const parts = text.split(variable).map((part, at) => (at % 2 ? `(?<${part}>[^/]+)` : escaped(part)));
        return new RegExp(`^${parts.join('')}$`);
    }

    /** Return a path without the slash at its end, unless it is only that. */
    const withoutSlash = (path) => path.replace(/(.)\/$/, '$1');

    function makeRooms(paths) {
        Object.keys(paths || {}).forEach((text) =>
            rooms.set(text, {
                text,
                matches: expression(text, /\{([A-Za-z_][A-Za-z0-9_]*)\}/),
                path: paths[text] && expression(withoutSlash(paths[text]), /<([A-Za-z_][A-Za-z0-9_]*)>/),
                names: Object.keys(callbacks).filter((name) => callbacks[name].room === text),
                channel: null,
                holders: new Set(),
                status: 'pending',
                hasState: false,
                places: new Map(),
                initial: new Map(),
                named: null,
                endNamed: null,
            })
        );
    }

    /** Remember what a component shows before the room sets it. */
    function rememberInitial(room, key, place) {
        room.places.set(key, place);
        if (!room.initial.has(key) && link.isOnPage(place[0])) {
            room.initial.set(key, current(...place));
        }
    }

    function beginRoom(room, channel) {
        Object.assign(room, { channel, status: 'pending', hasState: false });
        room.names.forEach((name) => {
            const { inputs, outputs } = callbacks[name];
            inputs.concat(outputs).forEach((place) => rememberInitial(room, keyOf(...place), place));
        });
        checkComponents();
    }

    /** Forget everything of a room, and show what the page showed before. */
    function forgetRoom(room) {
        const updates = [];
        room.names.forEach((name) => {
            clearTimeout((waiting.get(name) || {}).timer);
            waiting.delete(name);
            offered.delete(name);
        });
        offers = offers.filter(({ cb }) => !room.names.includes(cb));
        room.places.forEach(([id, property], key) => {
            const here = current(id, property);
            // A component that has replaced the old one already shows its own value.
            const isOld = [serverValues, made].some(
                (known) => known.has(key) && equal(known === made ? made.get(key).value : known.get(key), here)
            );
            [serverValues, made, before, heldBack, pending].forEach((each) => each.delete(key));
            if (isOld && room.initial.has(key)) {
                const value = room.initial.get(key) === undefined ? null : room.initial.get(key);
                reported.set(key, value);
                restored.set(key, value);
                updates.push([id, { [property]: value }]);
            } else if (reported.has(key)) {
                reported.set(key, here);
            }
        });
        room.names.forEach((name) => markAnswered(name, Infinity));
        room.places.clear();
        room.initial.clear();
        room.hasState = false;
        link.forgetChannel(`room:${room.channel}`);
        link.setProps(updates, undefined, `the page has left the room ${room.channel}`);
    }

    function setRoomStatus(room, status) {
        const was = room.status;
        room.status = status;
        if (status === 'subscribed' && was !== status && room.hasState) {
            // After a break; what the page has missed has arrived by then.
            setTimeout(() => sendUnanswered(room), REPEAT_AFTER);
            sendOffers();
        }
    }

    function sendUnanswered(room) {
        unanswered.forEach((frame) => room.names.includes(frame.cb) && isOpen && isReady(room) && post(frame));
    }

    /** Put the page into a room, unless it is in another one of the pattern; returns a function that ends it. */
    function enterRoom(element, channel, token, report) {
        const own = Array.from(rooms.values()).filter((room) => room.matches.test(channel));
        const holder = {};
        let leave = null;
        const otherRoom = () => own.find((room) => room.channel !== null && room.channel !== channel);
        const hold = () =>
            own.forEach((room) => {
                room.holders.add(holder);
                if (room.channel === null) {
                    beginRoom(room, channel);
                }
            });
        const release = () =>
            own.forEach((room) => {
                if (room.holders.delete(holder) && !room.holders.size) {
                    forgetRoom(room);
                    room.channel = null;
                }
            });
        const watcher = (changes) => {
            const { status } = changes;
            if (status === 'denied') {
                release();
            } else if (status && otherRoom()) {
                report({ status: 'denied' });
                return;
            } else if (status) {
                hold();
                own.forEach((room) => setRoomStatus(room, status));
            }
            report(changes);
            if (status === 'denied') {
                enterWaiting();
            }
        };
        watcher.wants = 'room';
        const enter = () => {
            const other = otherRoom();
            if (other && !leave) {
                console.error(
                    `flash: the page is in the room ${other.channel}, so it does not enter ${channel}; ` +
                        `a page is in one room of ${other.text}`
                );
                report({ status: 'denied' });
            } else if (!leave) {
                hold();
                leave = subscribe(element, { channel, token }, watcher);
            }
        };
        waitingRooms.add(enter);
        enter();
        return () => {
            waitingRooms.delete(enter);
            if (leave) {
                leave();
                release();
                enterWaiting();
            }
        };
    }

    /** Enter rooms that could not be entered because of another one. */
    function enterWaiting() {
        waitingRooms.forEach((enter) => enter());
    }

    /** Return the name of the room that the URL leads into; null for none. */
    function roomOfUrl(room) {
        const { pathname } = window.location;
        if (!pathname.startsWith(prefix)) {
            return null;
        }
        const found = room.path.exec(withoutSlash(`/${pathname.slice(prefix.length)}`));
        try {
            const values = found && Object.entries(found.groups || {}).map(([name, value]) => [name, decodeURIComponent(value)]);
            return values && values.reduce((text, [name, value]) => text.replace(`{${name}}`, () => value), room.text);
        } catch (_) {
            // No valid encoding.
            return null;
        }
    }

    /** Enter the rooms of the URL, and leave those of an earlier one. */
    function checkLocation() {
        rooms.forEach((room) => {
            const named = room.path && roomOfUrl(room);
            if (named !== room.named) {
                const { endNamed } = room;
                room.named = named;
                room.endNamed = null;
                if (endNamed) {
                    endNamed();
                }
                if (named && room.matches.test(named)) {
                    room.endNamed = enterRoom(document.body, named, undefined, () => {});
                }
            }
        });
    }

    /** Watch the URL if it leads into rooms; returns what to do whenever the page's elements change. */
    function watchLocation() {
        if (!Array.from(rooms.values()).some((room) => room.path)) {
            return checkComponents;
        }
        checkLocation();
        ['popstate', '_dashprivate_pushstate', '_dashprivate_historychange'].forEach((name) =>
            window.addEventListener(name, checkLocation)
        );
        return () => {
            // Scripts may change the URL without an event.
            checkLocation();
            checkComponents();
        };
    }

    /** Apply a push to a room, unless the page has left it. */
    function applyPush(frame) {
        const entry = channels.get(frame.c.slice('room:'.length));
        if (entry && wantsOf(entry).includes('room')) {
            link.setProps(frame.u, frame.c, frame);
        }
    }

    function Room(props) {
        const latest = window.React.useRef(null);
        const element = window.React.useRef(null);
        latest.current = props;
        // Before the browser can report a change of a component that is drawn with it.
        window.React.useLayoutEffect(
            () => enterRoom(element.current, props.channel, props.token, (changes) => setChanged(latest.current, changes)),
            [props.channel, props.token]
        );
        return window.React.createElement('span', { ref: element, style: { display: 'none' } });
    }

    // -- Who is present ----------------------------------------------------------------------------

    function setChanged(props, changes) {
        if (Object.keys(changes).some((name) => !equal(props[name], changes[name]))) {
            props.setProps(changes);
        }
    }

    function handlePresent({ c, who, count }) {
        const entry = channels.get(c.slice('present:'.length));
        if (entry && wantsOf(entry).includes('present')) {
            entry.list = { who, count };
            entry.watchers.forEach((watcher) => watcher.show && watcher.show(entry.list));
        }
    }

    function Present(props) {
        const { createElement, useEffect, useRef } = window.React;
        const latest = useRef(null);
        const element = useRef(null);
        const shown = useRef(null); // the names of the latest list
        latest.current = props;
        useEffect(() => {
            const nobody = { who: [], count: 0, joined: [], left: [] };
            shown.current = null;
            if (latest.current.count) {
                setChanged(latest.current, nobody);
            }
            const watcher = (changes) => {
                const isGone = changes.status === 'denied';
                shown.current = isGone ? null : shown.current;
                setChanged(latest.current, isGone ? Object.assign({}, nobody, changes) : changes);
            };
            watcher.wants = 'present';
            watcher.show = ({ who, count }) => {
                const before = shown.current || who;
                shown.current = who;
                setChanged(latest.current, {
                    who,
                    count,
                    joined: who.filter((each) => !before.includes(each)),
                    left: before.filter((each) => !who.includes(each)),
                });
            };
            return subscribe(element.current, { channel: props.channel, token: props.token }, watcher);
        }, [props.channel, props.token]);
        const names = (props.who || []).slice(0, props.most);
        const more = (props.count || 0) - names.length;
        const part = (kind, text, key) => createElement('span', { key: key || kind, className: `flash-present-${kind}` }, text);
        const parts = props.count ? [part('count', props.count), ' ', part('label', props.label)] : [];
        names.forEach((name, at) => parts.push(at ? ', ' : ': ', part('name', name, `name ${at}`)));
        if (names.length && more > 0) {
            parts.push(' ', part('more', props.more.replace('{count}', more)));
        }
        return createElement(
            'div',
            {
                ref: element,
                id: props.id === undefined ? undefined : stringify(props.id),
                className: `flash-present ${props.className || ''}`.trim(),
                role: 'status',
                'aria-live': 'polite',
                'aria-atomic': 'true',
            },
            ...parts
        );
    }

    // -- The developer's panel ---------------------------------------------------------------------
    // It is there in debug mode only, and calls these functions while it is open.

    function inspectChannels() {
        const rows = Array.from(channels, ([channel, entry]) => ({
            channel,
            status: entry.watchers.length ? entry.status : 'suspended',
            frames: pageChannels(channel).reduce((sum, name) => sum + link.applied(name), 0),
            components: entry.watchers.length + entry.suspended,
            follows: ['results'].concat(wantsOf(entry)).join(', '),
        }));
        return { rows, empty: 'No Subscription, Room or Present is on the page.' };
    }

    function inspectShared() {
        const facts = { 'shared callbacks': Object.keys(callbacks).length, 'changes without an answer': unanswered.size };
        rooms.forEach((room, text) => {
            facts[`room ${text}`] = room.channel === null ? 'none' : `${room.channel} (${room.status})`;
        });
        const statusOf = (key) => (pending.has(key) ? 'unanswered' : heldBack.has(key) ? 'held back while you type' : 'shared');
        const keys = Array.from(new Set([...serverValues.keys(), ...pending.keys()]));
        const rows = keys.map((property) => ({ property, value: serverValues.get(property), status: statusOf(property) }));
        return { facts, rows, empty: 'No value is shared yet.' };
    }

    function showInPanel() {
        const inspect = window.flash.inspect || {};
        inspect.Subscriptions = inspectChannels;
        inspect['Shared values'] = inspectShared;
        link.origins
            .set('channel', (name) => `channel ${name}`)
            .set('once', (name) => `channel ${name}`)
            .set('room', (name) => `push to the room ${name}`)
            .set('shared', (room, { cb }) => {
                const outputs = ((callbacks[cb] || {}).outputs || []).map(([id, property]) => keyOf(id, property));
                const what = outputs.length ? `shared callback of ${outputs.join(', ')}` : 'shared values';
                return room ? `${what}, in the room ${room}` : what;
            });
    }

    // -- The link ----------------------------------------------------------------------------------

    function handleWelcome(frame) {
        isOpen = true;
        pageId = frame.id;
        // Frames sent on the broken connection may not have arrived. The server ignores repeated ones.
        const numbers = Array.from(unanswered.keys());
        setTimeout(() => {
            // Those of a room are sent when the page is in it again.
            const again = numbers.map((k) => unanswered.get(k)).filter((each) => each && !roomOf(each.cb));
            again.forEach((each) => isOpen && post(each));
        }, REPEAT_AFTER);
        sendOffers();
        channels.forEach((each, channel) => {
            if (each.watchers.length) {
                each.isFollowed = each.resumes && `channel:${channel}` in frame.at;
                postSubscribe(channel, each);
            }
        });
        // The server may not have received that the page has unsubscribed.
        Object.keys(frame.at).forEach((name) => {
            const channel = name.startsWith('channel:') && name.slice('channel:'.length);
            if (channel && !(channels.get(channel) || { watchers: [] }).watchers.length) {
                link.post({ t: 'unsubscribe', channel });
            }
        });
        if (frame.at.shared) {
            hasState = true;
            link.whenHydrated(sendOffers);
        }
    }

    window.flash_pubsub = { Subscription, Room, Present };

    const clientside = (window.dash_clientside = window.dash_clientside || {});
    clientside.flash_pubsub = new Proxy(
        {},
        {
            get: (_, name) => () => handleChange(name),
        }
    );

    function start() {
        const config = JSON.parse(document.getElementById('_dash-config').textContent);
        if (!config.flash_pubsub) {
            return;
        }
        callbacks = config.flash_pubsub.shared;
        if (config.ui) {
            showInPanel();
        }
        prefix = config.requests_pathname_prefix || '/';
        makeRooms(config.flash_pubsub.rooms);
        Object.values(callbacks).forEach(({ inputs, outputs, room }) => {
            inputs.forEach(([id, property]) => inputKeys.add(keyOf(id, property)));
            inputs.concat(outputs).forEach(([id, property]) => owners.set(keyOf(id, property), room));
        });
        document.addEventListener('input', () => (typedAt = performance.now()), true);
        link.onChannel('shared', applyShared);
        link.onChannel('room', applyPush);
        link.onChannel('present', handlePresent);
        // Those of channels without variables, which go to every page.
        link.setUnasked((name) => /^(channel|once):/.test(name) && !channels.has(name.slice(name.indexOf(':') + 1)));
        link.onFrame('shared', handleAnswer);
        link.onFrame('subscription', handleSubscription);
        link.onWelcome(handleWelcome);
        link.onStatus((state) => {
            isOpen = isOpen && state.status === 'open';
            if (!isOpen) {
                rooms.forEach((room) => isReady(room) && setRoomStatus(room, 'pending'));
            }
        });
        if (Object.keys(callbacks).length) {
            link.whenHydrated(() => {
                checkComponents();
                const look = watchLocation();
                // A MutationObserver runs before the browser paints the new components.
                new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
            });
        }
    }

    if (document.getElementById('_dash-config')) {
        start();
    } else {
        document.addEventListener('DOMContentLoaded', start);
    }
})();
