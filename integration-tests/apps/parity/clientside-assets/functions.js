window.dash_clientside = Object.assign({}, window.dash_clientside, {
    arithmetic: {
        double: (value) => 2 * value,
        later: (value) =>
            new Promise((resolve) => setTimeout(() => resolve(`later ${value}`), 50)),
    },
});
