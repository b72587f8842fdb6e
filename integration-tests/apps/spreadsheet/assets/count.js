window.dash_clientside = Object.assign({}, window.dash_clientside, {
    spreadsheet: {
        count: function (shown, rows) {
            return `${(shown || []).length} of ${(rows || []).length} rows shown`;
        },
    },
});
