/*
 * The page's side of shared callbacks and subscriptions, over the live link of flash_ws.js.
 *
 * A plain classic script without a build step, run after flash_ws.js and before Dash's renderer. It
 * does nothing on a page whose configuration has no `flash_pubsub`.
 *
 * A shared callback stands in the page as a clientside callback without outputs: Dash calls it when an
 * input changes, and it sends the change. What comes back is one message for everybody, in one order:
 *   - the server's value of each property is remembered, so that a value which Dash reports because it
 *     was pushed is known for an echo, and components that are mounted later begin with it;
 *   - a property that this page has changed keeps the hand's value until the message that answers the
 *     change has come; from then on newer messages win;
 *   - a change carries when it was made, by this page's clock: of two changes the later one counts.
 */
(function () {
    'use strict';

    // Milliseconds between two messages of one callback: a hand moves faster than anybody looks.
    const SEND_EVERY = 25;
    // After a reconnect: by then what the page has missed has come, answers to its changes included.
    const REPEAT_AFTER = 200;

    const link = window.flash && window.flash.link;
    if (!link || !link.onChannel || window.flash_pubsub) {
        return;
    }

    let callbacks = {}; // name → {inputs: [[id, property]], outputs: …}
    let me = null; // this page's name
    let isOpen = false;
    // Whether the state has come, so that it is known which callbacks have run.
    let isInformed = false;
    // Not from 0: a page from the browser's cache may have the identity of an earlier one.
    let lastChange = Date.now();

    // Everything by key: the id as Dash writes it, and the property.
    const shown = new Map(); // key → the server's value
    // key → {callback: number of this page's newest change of it that the callback has not answered}
    const pending = new Map();
    const inputKeys = new Set(); // of all callbacks
    const reported = new Map(); // key of an input → the value that Dash has told of last, or was set here
    const made = new Map(); // key of an input → {value, at: when this page changed it, the same for all callbacks}
    const waiting = new Map(); // name → {change: what is to be sent, timer, sentAt}
    const unanswered = new Map(); // number → frame that was sent, or could not be

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

    /** Return what a component on the page has; undefined if it is not there. */
    function current(id, property) {
        if (!link.isOnPage(id)) {
            return undefined;
        }
        return window.dash_component_api.getLayout(id).props[property];
    }

    /** Whether the hand has changed an input and Dash has not told of it yet, as it will in a moment. */
    function isMoving(key, value) {
        return inputKeys.has(key) && reported.has(key) && !equal(value, reported.get(key));
    }

    /** An input has the server's value now: if the hand sets its own again, that is another change. */
    function replaced(key, value) {
        reported.set(key, value);
        if (made.has(key) && !equal(made.get(key).value, value)) {
            made.set(key, { at: made.get(key).at });
        }
    }

    /** Set a property as everybody sees it, unless the page shows that already. */
    function show(id, property, value) {
        replaced(keyOf(id, property), value);
        if (link.isOnPage(id) && !equal(current(id, property), value)) {
            link.setProps([[id, { [property]: value }]]);
        }
    }

    // -- From the server ---------------------------------------------------------------------------

    // Set anew each time they come, since they say what to add.
    const INCREMENTAL = ['extendData', 'prependData', 'rowTransaction', 'rowTransactionAsync'];

    function take(frame) {
        if (frame.o && frame.o[me] !== undefined) {
            answered(frame.cb, frame.o[me]);
        }
        const updates = [];
        frame.u.forEach(([id, props]) => {
            const changes = {};
            Object.keys(props).forEach((property) => {
                const key = keyOf(id, property);
                if (INCREMENTAL.includes(property)) {
                    changes[property] = props[property];
                    return;
                }
                shown.set(key, props[property]);
                // Older than what the hand has done since.
                const here = current(id, property);
                if (!pending.has(key) && !isMoving(key, here)) {
                    replaced(key, props[property]);
                    if (!equal(here, props[property])) {
                        changes[property] = props[property];
                    }
                }
            });
            if (Object.keys(changes).length) {
                updates.push([id, changes]);
            }
        });
        link.setProps(updates);
        if (frame.t === 'snapshot') {
            isInformed = true;
            offerAll();
        }
    }

    function answered(name, number) {
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

    /** The server answers this page alone: the change is known already, or its callback has failed. */
    function told(frame) {
        if (frame.failed) {
            console.error(`flash: the shared callback ${frame.label} failed: ${frame.failed}`);
        }
        answered(frame.cb, frame.k);
        mounted((callbacks[frame.cb] || { inputs: [] }).inputs);
    }

    // -- To the server -----------------------------------------------------------------------------

    /** Dash has called the clientside callback of a shared one. */
    function changed(name) {
        const context = window.dash_clientside.callback_context;
        const values = context.inputs_list.map((each) => each.value);
        const states = (context.states_list || []).map((each) => each.value);
        const triggers = context.triggered.map((each) => each.prop_id);
        context.inputs_list.forEach((each) => {
            reported.set(keyOf(each.id, each.property), each.value);
        });
        const places = context.inputs_list
            .map((each, place) => [keyOf(each.id, each.property), place])
            .filter(([key]) => triggers.includes(key))
            // What is as everybody sees it was pushed, or is no change.
            .filter(([key, place]) => pending.has(key) || !equal(shown.get(key), values[place]))
            .filter(([key, place]) => shown.has(key) || values[place] !== undefined);
        if (places.length) {
            lastChange += 1;
            const number = lastChange;
            places.forEach(([key]) => {
                pending.set(key, Object.assign(pending.get(key) || {}, { [name]: number }));
            });
            const at = {};
            places.forEach(([key, place]) => (at[place] = madeAt(key, values[place])));
            enqueue(name, { k: number, v: values, s: states, at });
        }
        return window.dash_clientside.no_update;
    }

    /** When a change was made, in milliseconds: Dash tells of it once for each callback of the input. */
    function madeAt(key, value) {
        const known = made.get(key) || { at: 0 };
        if (!('value' in known) || !equal(known.value, value)) {
            made.set(key, { value, at: Math.max(Date.now(), known.at + 1) });
        }
        return made.get(key).at;
    }

    /** Let a change wait a moment: of several the newest is sent, with all inputs that have changed. */
    function enqueue(name, change) {
        let mine = waiting.get(name);
        if (!mine) {
            waiting.set(name, (mine = { change: null, timer: 0, sentAt: -Infinity }));
        }
        if (mine.change) {
            change.at = Object.assign(mine.change.at, change.at);
        }
        mine.change = change;
        if (!mine.timer) {
            const wait = Math.max(0, mine.sentAt + SEND_EVERY - performance.now());
            if (wait === 0) {
                send(name, mine);
            } else {
                mine.timer = setTimeout(() => send(name, mine), wait);
            }
        }
    }

    function send(name, mine) {
        const { k, v, s, at } = mine.change;
        const changed = Object.keys(at).map(Number);
        const frame = { t: 'share', cb: name, k, v, s, changed, at: changed.map((place) => at[place]) };
        mine.change = null;
        mine.timer = 0;
        mine.sentAt = performance.now();
        // A later change of the same inputs makes an earlier one needless.
        unanswered.forEach((each, number) => {
            if (each.cb === name && each.changed.every((place) => frame.changed.includes(place))) {
                unanswered.delete(number);
            }
        });
        unanswered.set(frame.k, frame);
        if (isOpen) {
            post(frame);
        }
    }

    /** Post a frame with the page's time, from which the server learns how far the clocks differ. */
    function post(frame) {
        link.post(Object.assign({ now: Date.now() }, frame));
    }

    /** Offer a callback's first run; the server takes it from one page of all. */
    function offer(name, values, states) {
        const frame = { t: 'share', cb: name, k: 0, v: values, s: states, changed: [] };
        if (isOpen && isInformed) {
            post(frame);
        } else {
            offers.push(frame);
        }
    }

    let offers = [];

    function offerAll() {
        if (isOpen && isInformed) {
            offers.splice(0).forEach(post);
        }
    }

    /** Show what everybody sees: for components that have come into the page, or a change refused. */
    function mounted(properties) {
        properties.forEach(([id, property]) => {
            const key = keyOf(id, property);
            if (shown.has(key) && !pending.has(key)) {
                show(id, property, shown.get(key));
            }
        });
    }

    // Keys of components that are on the page, and callbacks that had all their inputs there.
    const present = new Set();
    const offered = new Set();

    /**
     * Notice what has come into the page and what has left it. Dash itself does not call a callback
     * without outputs for components that another callback brings.
     */
    function look() {
        Object.keys(callbacks).forEach((name) => {
            const { inputs, outputs, states } = callbacks[name];
            inputs.concat(outputs).forEach(([id, property]) => {
                const key = keyOf(id, property);
                if (!link.isOnPage(id)) {
                    present.delete(key);
                } else if (!present.has(key)) {
                    present.add(key);
                    mounted([[id, property]]);
                }
            });
            const isHere = ([id, property]) => present.has(keyOf(id, property));
            if (!offered.has(name) && inputs.every(isHere)) {
                offered.add(name);
                const values = (properties) => properties.map(([id, property]) => current(id, property));
                offer(name, values(inputs), values(states));
            }
        });
    }

    // -- Subscriptions -----------------------------------------------------------------------------

    // channel → {token, watchers: [fn({status, …})], resting: how many Subscriptions are in panels of
    // flash-lazy that are out of view, left: whether the page comes back to what it has followed, status}
    const channels = new Map();
    const RESTS = '.flash-lazy[data-suspended="true"]';

    /** The page's channels that carry a channel of users. */
    const carriers = (channel) => [`channel:${channel}`, `once:${channel}`];

    function postSubscribe(channel, { token, left }) {
        const frame = { t: 'subscribe', channel, token };
        if (left) {
            frame.at = {};
            carriers(channel).forEach((name) => {
                const position = link.position(name);
                if (position) {
                    frame.at[name] = position;
                }
            });
        }
        link.post(frame);
    }

    function begin(channel, mine, watcher) {
        mine.watchers.push(watcher);
        if (mine.watchers.length > 1) {
            watcher({ status: mine.status });
            return;
        }
        mine.status = 'pending';
        if (isOpen) {
            postSubscribe(channel, mine);
        }
    }

    function end(channel, mine, watcher) {
        mine.watchers = mine.watchers.filter((each) => each !== watcher);
        if (!mine.watchers.length && isOpen) {
            link.post({ t: 'unsubscribe', channel });
        }
    }

    /** Whether the page comes back to a channel: its position is kept, whatever becomes of the link. */
    function setLeft(channel, mine, left) {
        mine.left = left;
        carriers(channel).forEach((name) => (left ? link.kept.add(name) : link.kept.delete(name)));
    }

    /** Be subscribed whenever no panel around `element` rests; returns a function that ends that. */
    function subscribe(element, channel, token, watcher) {
        const mine = channels.get(channel) || { token, watchers: [], resting: 0, left: false };
        channels.set(channel, mine);
        let rests = element.closest(RESTS) !== null;
        let isOld = false; // whether it has been subscribed before
        const enter = () => {
            if (rests) {
                mine.resting += 1;
                watcher({ status: 'suspended' });
                return;
            }
            if (!mine.watchers.length && !isOld) {
                // What has just come into the page is to see what everybody sees.
                setLeft(channel, mine, false);
            }
            isOld = true;
            begin(channel, mine, watcher);
        };
        const leave = () => {
            if (rests) {
                mine.resting -= 1;
            } else {
                end(channel, mine, watcher);
            }
        };
        const look = () => {
            const now = element.closest(RESTS) !== null;
            if (now !== rests) {
                leave();
                if (now && !mine.watchers.length) {
                    setLeft(channel, mine, true);
                }
                rests = now;
                enter();
            }
        };
        enter();
        document.addEventListener('flash-lazy-suspend', look, true);
        return () => {
            document.removeEventListener('flash-lazy-suspend', look, true);
            leave();
            if (!mine.watchers.length && !mine.resting) {
                setLeft(channel, mine, false);
                channels.delete(channel);
            }
        };
    }

    function subscriptionChanged(frame) {
        const mine = channels.get(frame.channel);
        if (!mine) {
            return;
        }
        const news = { status: (mine.status = frame.status) };
        if (frame.recovered !== undefined) {
            setLeft(frame.channel, mine, !mine.watchers.length);
            news.recovered = frame.recovered;
        }
        mine.watchers.forEach((watcher) => watcher(news));
    }

    function Subscription(props) {
        const latest = window.React.useRef(null);
        const place = window.React.useRef(null);
        latest.current = props;
        window.React.useEffect(
            () =>
                subscribe(place.current, props.channel, props.token, (news) => {
                    if (Object.keys(news).some((name) => latest.current[name] !== news[name])) {
                        latest.current.setProps(news);
                    }
                }),
            [props.channel, props.token]
        );
        // What it stands in is found by this.
        return window.React.createElement('span', { ref: place, style: { display: 'none' } });
    }

    // -- The link ----------------------------------------------------------------------------------

    function welcomed(frame) {
        isOpen = true;
        me = frame.id;
        // What was sent on a connection that broke off may not have come; what has, is known there.
        const doubtful = Array.from(unanswered.keys());
        setTimeout(() => {
            doubtful.forEach((k) => isOpen && unanswered.has(k) && post(unanswered.get(k)));
        }, REPEAT_AFTER);
        offerAll();
        channels.forEach((each, channel) => {
            if (each.watchers.length) {
                postSubscribe(channel, each);
            }
        });
        // The server may not have heard that the page has unsubscribed.
        Object.keys(frame.at).forEach((name) => {
            const channel = name.startsWith('channel:') && name.slice('channel:'.length);
            if (channel && !(channels.get(channel) || { watchers: [] }).watchers.length) {
                link.post({ t: 'unsubscribe', channel });
            }
        });
        if (frame.at.shared) {
            isInformed = true;
            link.whenHydrated(offerAll);
        }
    }

    window.flash_pubsub = { Subscription };

    const clientside = (window.dash_clientside = window.dash_clientside || {});
    clientside.flash_pubsub = new Proxy(
        {},
        {
            get: (_, name) => () => changed(name),
        }
    );

    function start() {
        const config = JSON.parse(document.getElementById('_dash-config').textContent);
        if (!config.flash_pubsub) {
            return;
        }
        callbacks = config.flash_pubsub.shared;
        Object.values(callbacks).forEach((callback) =>
            callback.inputs.forEach(([id, property]) => inputKeys.add(keyOf(id, property)))
        );
        link.onChannel('shared', take);
        link.onFrame('shared', told);
        link.onFrame('subscription', subscriptionChanged);
        link.onWelcome(welcomed);
        link.onStatus((state) => {
            isOpen = isOpen && state.status === 'open';
        });
        if (Object.keys(callbacks).length) {
            link.whenHydrated(() => {
                look();
                // Called before the browser paints what has come.
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
