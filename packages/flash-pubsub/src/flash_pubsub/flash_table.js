/*
 * The page's part of tables: TableFeed, over the live link of flash_ws.js.
 *
 * A plain classic script without a build step, run after flash_ws.js and flash_pubsub.js. Only pages of
 * an app that has declared a table load it.
 *
 * The page keeps the rows of each table that one of its TableFeeds shows, in the order in which they were
 * inserted. Every frame of the server changes them at once; grids and graphs get what has changed once per
 * animation frame, each row once. On a hidden page they get it once a second.
 */
(function () {
    'use strict';

    // Milliseconds between two drawings of a hidden page, and between two looks for a component.
    const HIDDEN_EVERY = 1000;
    const LOOK_AGAIN = 100;
    // Milliseconds between two drawings of a graph's traces as a whole.
    const REDRAW_EVERY = 500;

    const link = window.flash && window.flash.link;
    const components = window.flash_pubsub;
    if (!link || !link.onFrame || !components || components.TableFeed) {
        return;
    }

    let isOpen = false; // whether the link is open

    // name → {name, token, status, position: [epoch, number] or null, columns, key: the key's index,
    //   rows: Map of key → row, incoming: the rows of a table that is sent as a whole, or null,
    //   hasBegun: whether rows have come since the page has asked, feeds: Set}
    const tables = new Map();

    const idText = (id) => window.dash_component_api.stringifyId(id);

    function report(text) {
        console.error(`flash: ${text}`);
    }

    // -- From the server ---------------------------------------------------------------------------

    function takeRows(frame) {
        const table = tables.get(frame.table);
        if (!table || !(frame.first || table.hasBegun)) {
            // The end of an earlier request.
            return;
        }
        table.hasBegun = true;
        if (frame.first) {
            table.columns = frame.columns;
            table.key = frame.key;
            table.position = null;
            // The rows that are shown stay until all of the new ones are here.
            table.incoming = table.rows.size ? new Map() : null;
        }
        const rows = table.incoming || table.rows;
        const toRow = (values) => {
            const row = {};
            table.columns.forEach((name, place) => (row[name] = values[place]));
            return row;
        };
        const note = table.incoming ? null : (kind, key, row) => table.feeds.forEach((feed) => feed.note(kind, key, row));
        (frame.r || []).forEach((key) => {
            if (rows.delete(key) && note) {
                note('remove', key);
            }
        });
        (frame.u || []).forEach((values) => {
            const key = String(values[table.key]);
            if (rows.has(key)) {
                rows.set(key, toRow(values));
                if (note) {
                    note('update', key);
                }
            }
        });
        (frame.a || []).forEach((values) => {
            const key = String(values[table.key]);
            // A row that was removed and inserted again is the last one.
            rows.delete(key);
            rows.set(key, toRow(values));
            if (note) {
                note('add', key);
            }
        });
        if (frame.n !== undefined) {
            table.position = [frame.e, frame.n];
            if (table.incoming) {
                table.rows = table.incoming;
                table.incoming = null;
                table.feeds.forEach((feed) => feed.noteAll());
            }
        }
        schedule();
    }

    function takeStatus(frame) {
        const table = tables.get(frame.table);
        if (table) {
            table.status = frame.status;
            table.feeds.forEach((feed) => feed.setStatus(frame.status));
        }
    }

    // -- Drawing, once per animation frame ---------------------------------------------------------

    let animation = 0;
    let timer = 0;
    let drawnAt = -Infinity;

    /** Draw soon what has changed; a hidden page has no animation frames, and timers that are slow. */
    function schedule() {
        if (!document.hidden) {
            animation = animation || requestAnimationFrame(draw);
        } else if (performance.now() - drawnAt >= HIDDEN_EVERY) {
            draw();
        } else {
            timer = timer || setTimeout(draw, HIDDEN_EVERY);
        }
    }

    function draw() {
        cancelAnimationFrame(animation);
        clearTimeout(timer);
        animation = timer = 0;
        drawnAt = performance.now();
        let next = Infinity;
        tables.forEach((table) =>
            table.feeds.forEach((feed) => {
                try {
                    next = Math.min(next, feed.draw());
                } catch (error) {
                    console.error(error);
                }
            })
        );
        if (next < Infinity) {
            timer = setTimeout(() => {
                timer = 0;
                schedule();
            }, next);
        }
    }

    document.addEventListener('visibilitychange', () => {
        if (animation || timer) {
            cancelAnimationFrame(animation);
            clearTimeout(timer);
            animation = timer = 0;
            schedule();
        }
    });

    // -- Grids -------------------------------------------------------------------------------------

    /** Return the interface of a grid that is on the page and ready; else null. */
    function gridOf(id) {
        try {
            const api = window.dash_ag_grid.getApi(idText(id));
            return api && !api.isDestroyed() ? api : null;
        } catch (_) {
            return null;
        }
    }

    /** Show the rows of a table in an AgGrid; `draw` returns in how many ms it has to be called again. */
    function gridFeed(table, id) {
        let api = null;
        const shown = new Map(); // key → the row that the grid has
        const changed = new Map(); // key → whether it was inserted since, in the order of insertion
        let isWhole = true;

        /** Begin with a grid that is new on the page. */
        function begin(found) {
            api = found;
            isWhole = true;
            if (api.getGridOption('getRowId') === undefined) {
                report(
                    `the grid ${idText(id)} has no getRowId, so rows of the table ${table.name} cannot be ` +
                        `updated in it; give it getRowId="params.data.${table.columns[table.key]}"`
                );
            }
            if ((window.dash_component_api.getLayout(id).props || {}).rowData) {
                console.warn(`flash: the grid ${idText(id)} has rowData, which makes each change slow; leave it out`);
            }
        }

        return {
            note: (kind, key) => {
                if (kind === 'add') {
                    changed.delete(key);
                }
                changed.set(key, kind === 'add' || changed.get(key) === true);
            },
            noteAll: () => {
                isWhole = true;
            },
            draw: () => {
                if (!table.hasBegun || (!changed.size && !isWhole && api)) {
                    return Infinity;
                }
                const found = gridOf(id);
                if (!found) {
                    // A grid that comes gets all rows.
                    api = null;
                    isWhole = true;
                    changed.clear();
                    return LOOK_AGAIN;
                }
                if (found !== api) {
                    begin(found);
                }
                if (isWhole) {
                    isWhole = false;
                    shown.clear();
                    table.rows.forEach((row, key) => shown.set(key, row));
                    api.flushAsyncTransactions();
                    api.setGridOption('rowData', Array.from(table.rows.values()));
                } else {
                    apply();
                }
                changed.clear();
                return Infinity;
            },
        };

        function apply() {
            const remove = [];
            const update = [];
            const add = [];
            let isAgain = false;
            changed.forEach((isInserted, key) => {
                const row = table.rows.get(key);
                const before = shown.get(key);
                if (before !== undefined && (row === undefined || isInserted)) {
                    remove.push(before);
                    isAgain = isAgain || row !== undefined;
                    shown.delete(key);
                } else if (before !== undefined) {
                    update.push(row);
                    shown.set(key, row);
                }
                if (row !== undefined && (before === undefined || isInserted)) {
                    add.push(row);
                    shown.set(key, row);
                }
            });
            // A grid adds before it removes.
            if (isAgain) {
                api.applyTransactionAsync({ remove });
                api.applyTransactionAsync({ update, add });
            } else if (remove.length || update.length || add.length) {
                api.applyTransactionAsync({ remove, update, add });
            }
        }
    }

    // -- Graphs ------------------------------------------------------------------------------------

    /** Show the rows of a table as points of a graph; `draw` as that of a grid's feed. */
    function graphFeed(table, id, { x, y, trace, max_points: most }) {
        let added = []; // rows that were inserted since
        let isWhole = true;
        let wasOnPage = false;
        let redrawnAt = -Infinity;
        const nameOf = (row) => (trace === undefined ? '' : String(row[trace]));
        let places = new Map(); // name of a trace → its index in the figure

        /** Draw the traces from the rows that there are. */
        function redraw() {
            const figure = window.dash_component_api.getLayout(id).props.figure || {};
            const data = (figure.data || []).slice();
            const points = new Map();
            table.rows.forEach((row) => {
                const name = nameOf(row);
                const known = points.get(name) || { x: [], y: [] };
                points.set(name, known);
                known.x.push(row[x]);
                known.y.push(row[y]);
            });
            if (trace === undefined && !points.size) {
                points.set('', { x: [], y: [] });
            }
            // Traces of which no row is left become empty.
            places.forEach((place, name) => points.has(name) || points.set(name, { x: [], y: [] }));
            points.forEach((own, name) => {
                let place = trace === undefined ? 0 : data.findIndex((each) => each && each.name === name);
                if (place < 0 || place >= data.length) {
                    const { type, mode } = data[0] || {};
                    place = data.length;
                    data.push(trace === undefined ? {} : { type, mode, name });
                }
                const last = (values) => (most ? values.slice(-most) : values);
                data[place] = Object.assign({}, data[place], { x: last(own.x), y: last(own.y) });
                places.set(name, place);
            });
            link.setProps([[id, { figure: Object.assign({}, figure, { data }) }]], undefined, `table ${table.name}`);
        }

        /** Add the points of inserted rows; false if one is of a trace that the figure does not have. */
        function extend() {
            const points = new Map();
            for (const row of added) {
                const place = places.get(nameOf(row));
                if (place === undefined) {
                    return false;
                }
                const known = points.get(place) || { x: [], y: [] };
                points.set(place, known);
                known.x.push(row[x]);
                known.y.push(row[y]);
            }
            const all = Array.from(points.values());
            const value = [{ x: all.map((each) => each.x), y: all.map((each) => each.y) }, Array.from(points.keys())];
            link.setProps([[id, { extendData: most ? value.concat(most) : value }]], undefined, `table ${table.name}`);
            return true;
        }

        return {
            note: (kind, key) => {
                if (kind === 'add') {
                    added.push(table.rows.get(key));
                } else {
                    isWhole = true;
                }
            },
            noteAll: () => {
                isWhole = true;
            },
            draw: () => {
                if (!link.isOnPage(id)) {
                    wasOnPage = false;
                    isWhole = true;
                    added = [];
                    return table.hasBegun ? LOOK_AGAIN : Infinity;
                }
                if (!wasOnPage) {
                    const missing = table.columns && [x, y, trace].find((each) => each !== undefined && !table.columns.includes(each));
                    if (missing) {
                        report(`the table ${table.name} has no column ${missing}, which a TableFeed names`);
                    }
                }
                isWhole = isWhole || (!wasOnPage && table.hasBegun);
                // While the rows come as a whole for the first time, they are drawn once.
                if (!table.position || !(isWhole || added.length)) {
                    return Infinity;
                }
                wasOnPage = true;
                if (!isWhole && extend()) {
                    added = [];
                    return Infinity;
                }
                isWhole = true;
                const wait = redrawnAt + REDRAW_EVERY - performance.now();
                if (wait > 0) {
                    return wait;
                }
                redrawnAt = performance.now();
                added = [];
                isWhole = false;
                redraw();
                return Infinity;
            },
        };
    }

    // -- The component -----------------------------------------------------------------------------

    function ask(table) {
        table.hasBegun = Boolean(table.position);
        if (!table.position) {
            // A part of a table that came over a connection that broke; the new one begins anew.
            table.incoming = null;
        }
        link.post({ t: 'table', table: table.name, token: table.token, at: table.position || undefined });
    }

    /** Show a table until the returned function is called. */
    function subscribe(props, setStatus) {
        const { table: name, token, grid, graph } = props;
        let table = tables.get(name);
        if (!table) {
            table = { name, token, status: 'pending', position: null, rows: new Map(), incoming: null, hasBegun: false };
            table.feeds = new Set();
            tables.set(name, table);
            if (isOpen) {
                ask(table);
            }
        }
        const feed = grid !== undefined ? gridFeed(table, grid) : graphFeed(table, graph, props);
        feed.setStatus = setStatus;
        table.feeds.add(feed);
        setStatus(table.status);
        schedule();
        return () => {
            table.feeds.delete(feed);
            if (!table.feeds.size) {
                tables.delete(name);
                if (isOpen) {
                    link.post({ t: 'table-end', table: name });
                }
            }
        };
    }

    function TableFeed(props) {
        const latest = window.React.useRef(null);
        latest.current = props;
        window.React.useEffect(
            () =>
                subscribe(props, (status) => {
                    if (latest.current.status !== status) {
                        latest.current.setProps({ status });
                    }
                }),
            [JSON.stringify(['table', 'token', 'grid', 'graph', 'x', 'y', 'trace', 'max_points'].map((each) => props[each]))]
        );
        return null;
    }

    // For the developer's panel, which is there in debug mode only.
    window.flash.inspect = window.flash.inspect || {};
    window.flash.inspect.Tables = () => ({
        rows: Array.from(tables.values(), ({ name, status, rows, incoming, position, feeds }) => ({
            table: name,
            status,
            rows: rows.size,
            'rows on their way': incoming ? incoming.size : 0,
            number: position ? position[1] : null,
            feeds: feeds.size,
        })),
        empty: 'No TableFeed is on the page.',
    });

    components.TableFeed = TableFeed;
    link.onFrame('rows', takeRows);
    link.onFrame('table', takeStatus);
    link.onWelcome(() => tables.forEach(ask));
    // It is called now, too: the welcome may have come before this script was loaded.
    link.onStatus((state) => {
        isOpen = state.status === 'open';
    });
})();
